//! All that a client needs: names on the bus, error names, proxies. Depends on nothing of the daemon's.

pub mod advice;
pub mod error;
pub mod options;
pub mod proxy;

/// Well-known bus name.
pub const BUS_NAME: &str = "org.claviger.Claviger1";
/// Root object: ObjectManager and Manager1.
pub const ROOT_PATH: &str = "/org/claviger/Claviger1";
/// The one object with Tokens1.
pub const TOKENS_PATH: &str = "/org/claviger/Claviger1/tokens";
/// The one object with Verify1.
pub const VERIFY_PATH: &str = "/org/claviger/Claviger1/verify";
/// The one object with Subjects1.
pub const SUBJECTS_PATH: &str = "/org/claviger/Claviger1/subjects";
/// The one object with Drift1.
pub const DRIFT_PATH: &str = "/org/claviger/Claviger1/drift";
/// The one object with Cases1, and the parent of open cases.
pub const CASES_PATH: &str = "/org/claviger/Claviger1/cases";
/// The one object with Bypasses1.
pub const BYPASSES_PATH: &str = "/org/claviger/Claviger1/bypasses";
/// Parent of devices.
pub const DEVICES_PATH: &str = "/org/claviger/Claviger1/devices";
/// Parent of operations.
pub const OPERATIONS_PATH: &str = "/org/claviger/Claviger1/operations";
/// Version of the interfaces (`Manager1.ApiVersion`).
pub const API_VERSION: u32 = 1;
/// Every polkit action the daemon may ask about.
pub const POLKIT_ACTIONS: &[&str] = &[
    "org.claviger.inspect",
    "org.claviger.register",
    "org.claviger.test",
    "org.claviger.verify",
    "org.claviger.resync",
    "org.claviger.suspend",
    "org.claviger.revoke",
    "org.claviger.configure",
    "org.claviger.case",
    "org.claviger.approve",
    "org.claviger.bypass",
    "org.claviger.audit",
];
