"""Compiles seccomp profiles with the installed libseccomp, in the steps that runc takes, for seccomp_libseccomp.rs.

Reads one JSON value a line, writes one line each:
  {"names": [...]}     -> {"numbers": {name: {arch: number}}}: what the library resolves; others are missing
  {"profile": {...}}   -> {"program": [[code, jt, jf, k], ...], "us": n} or {"error": n, "entry": n}
                          or {"gave_up": true}: some profiles keep libseccomp 2.5 busy for ever
Exit status 77: there is no libseccomp here.
"""
import ctypes
import ctypes.util
import json
import os
import signal
import sys
import tempfile
import time

ARCHES = {
    "X86": 0x40000003, "X86_64": 0xC000003E, "X32": 0x4000003E, "ARM": 0x40000028, "AARCH64": 0xC00000B7,
    "RISCV64": 0xC00000F3,
}
ACTIONS = {
    "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_TRAP": 0x30000,
    "SCMP_ACT_ERRNO": 0x50000, "SCMP_ACT_TRACE": 0x7FF00000, "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_ALLOW": 0x7FFF0000,
}
OPERATORS = ["", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]
OPTIMIZE, UNKNOWN, EEXIST = 8, -1, 17


class Cmp(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def load():
    for name in ("libseccomp.so.2", ctypes.util.find_library("seccomp")):
        try:
            lib = ctypes.CDLL(name)
        except (OSError, TypeError):
            continue
        lib.seccomp_init.restype = ctypes.c_void_p
        lib.seccomp_init.argtypes = [ctypes.c_uint32]
        lib.seccomp_release.argtypes = [ctypes.c_void_p]
        lib.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        lib.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
        lib.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
        lib.seccomp_rule_add_array.argtypes = [
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Cmp)]
        lib.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
        return lib
    sys.exit(77)


LIB = load()


def action(name, errno):
    value = ACTIONS[name]
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        value |= 1 if errno is None else errno
    return value


def add(ctx, act, number, conds):
    array = (Cmp * max(1, len(conds)))()
    for n, c in enumerate(conds):
        op = OPERATORS.index(c["op"].removeprefix("SCMP_CMP_"))
        array[n] = Cmp(c.get("index", 0), op, c.get("value", 0), c.get("valueTwo", 0))
    return LIB.seccomp_rule_add_array(ctx, act, number, len(conds), array)


def compile_profile(profile):
    begin = time.perf_counter()
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    ctx = LIB.seccomp_init(default)
    try:
        for arch in profile.get("architectures", []):
            rc = LIB.seccomp_arch_add(ctx, ARCHES[arch.removeprefix("SCMP_ARCH_")])
            if rc not in (0, -EEXIST):
                return {"error": rc, "entry": -1}
        calls = sum(len(e.get("names", [])) for e in profile.get("syscalls", []))
        if calls > 32:
            LIB.seccomp_attr_set(ctx, OPTIMIZE, 2)
        for n, entry in enumerate(profile.get("syscalls", [])):
            act = action(entry["action"], entry.get("errnoRet"))
            if act == default:
                continue
            args = entry.get("args", [])
            indices = [a.get("index", 0) for a in args]
            twice = len(set(indices)) < len(indices)
            for name in entry.get("names", []):
                number = LIB.seccomp_syscall_resolve_name(name.encode())
                if number == UNKNOWN:
                    continue
                for conds in [[a] for a in args] if twice else [args]:
                    rc = add(ctx, act, number, conds)
                    if rc != 0:
                        return {"error": rc, "entry": n}
        with tempfile.TemporaryFile() as out:
            rc = LIB.seccomp_export_bpf(ctx, out.fileno())
            us = int((time.perf_counter() - begin) * 1e6)
            if rc != 0:
                return {"error": rc, "entry": -1}
            out.seek(0)
            raw = out.read()
        program = []
        for at in range(0, len(raw), 8):
            code = int.from_bytes(raw[at:at + 2], sys.byteorder)
            program.append([code, raw[at + 2], raw[at + 3], int.from_bytes(raw[at + 4:at + 8], sys.byteorder)])
        return {"program": program, "us": us}
    finally:
        LIB.seccomp_release(ctx)


def resolve(names):
    numbers = {}
    for name in names:
        if LIB.seccomp_syscall_resolve_name(name.encode()) == UNKNOWN:
            continue
        numbers[name] = {
            arch: LIB.seccomp_syscall_resolve_name_arch(token, name.encode()) for arch, token in ARCHES.items()}
    return {"numbers": numbers}


def compile_with_deadline(profile):
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(3)
        with os.fdopen(send, "w") as out:
            json.dump(compile_profile(profile), out)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if status == 0 else {"gave_up": True}


for line in sys.stdin:
    ask = json.loads(line)
    answer = resolve(ask["names"]) if "names" in ask else compile_with_deadline(ask["profile"])
    print(json.dumps(answer), flush=True)
