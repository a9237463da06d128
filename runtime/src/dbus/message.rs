//! Messages: a header of typed fields in front of a body (D-Bus specification, "Message Format").
//!
//! Pure: no system calls.

use super::value::{Malformed, Reader, Value, read_body, signature_of, write_body};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for a reply.
    Call,
    /// Answers a call.
    Reply,
    /// Answers a call with a failure.
    Error,
    /// Tells whoever listens.
    Signal,
}

/// A received message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its sender's number for it.
    pub serial: u32,
    /// Of a reply or an error: to which call.
    pub reply_to: u32,
    /// Of a signal or a call: the object.
    pub path: String,
    /// Of a signal or a call: which one.
    pub member: String,
    /// Of an error.
    pub error: String,
    /// The arguments.
    pub body: Vec<Value>,
}

/// A method call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Whom; nobody in particular on a connection without a bus.
    pub destination: &'a str,
    /// Which object.
    pub path: &'a str,
    /// Which of its interfaces.
    pub interface: &'a str,
    /// Which method.
    pub member: &'a str,
    /// Its arguments.
    pub body: &'a [Value],
}

const LITTLE_ENDIAN: u8 = b'l';
const VERSION: u8 = 1;
const NO_REPLY_EXPECTED: u8 = 1;

/// The fixed part, up to the length of the header's fields.
const FIXED: usize = 16;

/// The most that we read: the specification allows 128 MiB, the answers that we ask for have a few hundred bytes.
pub const LONGEST: usize = 1 << 20;

/// Whether a call is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Yes.
    Reply,
    /// No.
    Nothing,
}

/// The bytes of a call.
pub fn encode(call: &Call<'_>, serial: u32, wanted: Wanted) -> Vec<u8> {
    let flags = match wanted {
        Wanted::Reply => 0,
        Wanted::Nothing => NO_REPLY_EXPECTED,
    };
    let field =
        |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
    let mut fields = vec![
        field(1, Value::Path(call.path.into())),
        field(2, Value::Text(call.interface.into())),
        field(3, Value::Text(call.member.into())),
    ];
    if !call.destination.is_empty() {
        fields.push(field(6, Value::Text(call.destination.into())));
    }
    if !call.body.is_empty() {
        fields.push(field(8, Value::Signature(signature_of(call.body))));
    }
    frame(
        [LITTLE_ENDIAN, 1, flags, VERSION],
        serial,
        fields,
        &write_body(call.body),
    )
}

fn frame(start: [u8; 4], serial: u32, fields: Vec<Value>, body: &[u8]) -> Vec<u8> {
    let [endian, kind, flags, version] = start.map(Value::Byte);
    let mut out = write_body(&[
        endian,
        kind,
        flags,
        version,
        Value::Uint32(body.len() as u32),
        Value::Uint32(serial),
        Value::Array("(yv)".into(), fields),
    ]);
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(body);
    out
}

/// How many bytes the message at the start of `data` has; `None` while too little of it is there to say.
pub fn length(data: &[u8]) -> Result<Option<usize>, Malformed> {
    if data.len() < FIXED {
        return Ok(None);
    }
    if data[0] != LITTLE_ENDIAN {
        return Err(Malformed("its sender is big-endian"));
    }
    let mut reader = Reader { data, at: 4 };
    let body = reader.u32()? as usize;
    reader.at = 12;
    let fields = reader.u32()? as usize;
    // Checked one by one: the sum of two lengths from outside may wrap.
    if body > LONGEST || fields > LONGEST {
        return Err(Malformed("it is longer than anything that was asked for"));
    }
    Ok(Some((FIXED + fields).next_multiple_of(8) + body))
}

/// Reads one whole message; `data` has the length that [`length`] gave.
pub fn decode(data: &[u8]) -> Result<Message, Malformed> {
    let kind = match data.get(1) {
        Some(1) => Kind::Call,
        Some(2) => Kind::Reply,
        Some(3) => Kind::Error,
        Some(4) => Kind::Signal,
        _ => return Err(Malformed("unknown kind")),
    };
    let mut reader = Reader { data, at: 4 };
    let length = reader.u32()? as usize;
    let serial = reader.u32()?;
    let fields = match reader.row("a(yv)", 0)?.pop() {
        Some(Value::Array(_, fields)) => fields,
        _ => return Err(Malformed("no header fields")),
    };
    reader.align(8)?;
    let mut out = Message {
        kind,
        serial,
        reply_to: 0,
        path: String::new(),
        member: String::new(),
        error: String::new(),
        body: Vec::new(),
    };
    let mut signature = String::new();
    for field in fields {
        take_field(field, &mut out, &mut signature);
    }
    let body = data.get(reader.at..).unwrap_or_default();
    if body.len() != length {
        return Err(Malformed("its length is wrong"));
    }
    out.body = read_body(&signature, body)?;
    Ok(out)
}

/// Fields that we do not know, or know with another type, are skipped as the specification asks.
fn take_field(field: Value, out: &mut Message, signature: &mut String) {
    let Value::Struct(pair) = field else { return };
    let [Value::Byte(code), Value::Variant(value)] = pair.as_slice() else {
        return;
    };
    match (code, value.as_ref()) {
        (1, Value::Path(t)) => out.path.clone_from(t),
        (3, Value::Text(t)) => out.member.clone_from(t),
        (4, Value::Text(t)) => out.error.clone_from(t),
        (5, Value::Uint32(n)) => out.reply_to = *n,
        (8, Value::Signature(t)) => signature.clone_from(t),
        _ => {}
    }
}

#[cfg(test)]
pub(crate) mod played {
    //! What a peer would send.

    use super::*;

    fn field(code: u8, value: Value) -> Value {
        Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))])
    }

    /// The answer to a call: a good one, or an error with its name.
    pub fn reply(good: bool, reply_to: u32, error: &str, body: &[Value]) -> Vec<u8> {
        let mut fields = vec![
            field(5, Value::Uint32(reply_to)),
            field(7, Value::Text(":1.0".into())),
        ];
        if !good {
            fields.push(field(4, Value::Text(error.into())));
        }
        if !body.is_empty() {
            fields.push(field(8, Value::Signature(signature_of(body))));
        }
        let kind = if good { 2 } else { 3 };
        frame([LITTLE_ENDIAN, kind, 1, VERSION], 77, fields, &write_body(body))
    }

    /// A signal as systemd sends it.
    pub fn signal(path: &str, member: &str, body: &[Value]) -> Vec<u8> {
        let fields = vec![
            field(1, Value::Path(path.into())),
            field(2, Value::Text("org.freedesktop.systemd1.Manager".into())),
            field(3, Value::Text(member.into())),
            field(8, Value::Signature(signature_of(body))),
        ];
        frame([LITTLE_ENDIAN, 4, 1, VERSION], 78, fields, &write_body(body))
    }
}

#[cfg(test)]
mod tests {
    use super::played::reply;
    use super::*;

    fn call() -> Vec<u8> {
        let body = [Value::Text("x.scope".into())];
        let call = Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "ResetFailedUnit",
            body: &body,
        };
        encode(&call, 5, Wanted::Reply)
    }

    #[test]
    fn a_call_is_read_back() {
        let bytes = call();
        assert_eq!(&bytes[..4], b"l\x01\x00\x01");
        assert_eq!(length(&bytes).unwrap(), Some(bytes.len()));
        assert_eq!(length(&bytes[..15]).unwrap(), None);
        let m = decode(&bytes).unwrap();
        assert_eq!(
            (m.kind, m.serial, m.member.as_str()),
            (Kind::Call, 5, "ResetFailedUnit")
        );
        assert_eq!(m.body, [Value::Text("x.scope".into())]);
    }

    #[test]
    fn an_error_has_its_name() {
        let m = decode(&reply(false, 9, "org.x.Gone", &[Value::Text("why".into())])).unwrap();
        assert_eq!((m.reply_to, m.error.as_str()), (9, "org.x.Gone"));
        assert_eq!(m.body[0].as_text(), Some("why"));
    }

    #[test]
    fn lengths_from_outside_are_bounded() {
        let mut bytes = call();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(length(&bytes).is_err());
        let mut bytes = call();
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(length(&bytes).is_err());
        let mut bytes = call();
        bytes[0] = b'B';
        assert!(length(&bytes).is_err());
        for end in FIXED..call().len() {
            assert!(decode(&call()[..end]).is_err(), "{end}");
        }
    }
}
