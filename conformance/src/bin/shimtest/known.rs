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

const GO_1_6: [(&str, &str); 0] = [];
