//! What shims are known not to do. Runs nothing.

/// The known failures of one shim.
pub struct Known(&'static [(&'static str, &'static str)]);

impl Known {
    /// Why a case is expected to fail.
    pub fn reason(&self, case: &str) -> Option<&'static str> {
        self.0.iter().find(|(name, _)| *name == case).map(|(_, why)| *why)
    }
}

/// By what the shim says about itself with `-v`.
pub fn of(version: &str) -> Known {
    let is_go = version.contains("containerd-shim-runc-v2");
    Known(if is_go && version.contains("1.6.") {
        &GO_1_6
    } else {
        &[]
    })
}

const NO_BOOTSTRAP: &str = "BootstrapParams came with 2.3";
const NO_INFO: &str = "-info came with 2.0";

const GO_1_6: [(&str, &str); 15] = [
    ("start.json", "answers every caller with the address alone"),
    ("start.bootstrap", NO_BOOTSTRAP),
    ("start.bootstrap-socket-dir", NO_BOOTSTRAP),
    ("start.bootstrap-again", NO_BOOTSTRAP),
    ("group.sandbox-of-version-3", NO_BOOTSTRAP),
    ("group.sandbox-that-dies-first", NO_BOOTSTRAP),
    ("cli.info", NO_INFO),
    ("cli.info-options", NO_INFO),
    ("cli.info-generic-options", NO_INFO),
    ("cli.delete-removes-the-socket", "leaves it to the next start"),
    ("cli.delete-of-nothing", "wants the file runtime"),
    ("wire.both-versions", "speaks version 2 alone"),
    ("life.generic-options", "takes its own options alone"),
    ("memory.idle", "13 MiB resident, most of it Go's runtime"),
    ("io.stdout-alone", "opens stderr also where there is none"),
];
