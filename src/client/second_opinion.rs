//! A second opinion on a FIDO2 key, by an engine that shares nothing with ours. The only file that names `ctap-hid-fido2`;
//! `docs/adr/0001` tells why it is here and not in the daemon.
//!
//! That crate reads without a timeout and panics on some bytes, so [`ask`] runs [`run`] in a process of its own, kills it
//! when its time is up and takes a crash for an answer.

use std::process::Stdio;
use std::time::Duration;

use ctap_hid_fido2::{FidoKeyHid, HidInfo, HidParam, LibCfg};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::client::arguments::{SecondOpinionArgs, exit};
use crate::client::failure::Failure;

/// Time the child gets.
const TIMEOUT: Duration = Duration::from_secs(10);
/// No answer is longer; a child gone wild does not fill our memory.
const LIMIT: u64 = 256 * 1024;

/// Reads the key in a child process and gives what it read.
///
/// # Errors
/// [`Failure::Local`] with what became of the child, in words.
pub async fn ask(key: &SecondOpinionArgs) -> Result<Value, Failure> {
    let failed = |what: String| Failure::local(format!("no second opinion: {what}"));
    let program = std::env::current_exe().map_err(|e| failed(format!("cannot find this program: {e}")))?;
    let mut child = Command::new(program)
        .arg("second-opinion")
        .args([
            "--vendor",
            &key.vendor.to_string(),
            "--product",
            &key.product.to_string(),
        ])
        .args(["--place", &key.place])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(format!("cannot start the child: {e}")))?;
    let mut out = String::new();
    let mut err = String::new();
    let read = async {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read_out = async {
            if let Some(stdout) = stdout {
                drop(stdout.take(LIMIT).read_to_string(&mut out).await);
            }
        };
        let read_err = async {
            if let Some(stderr) = stderr {
                drop(stderr.take(LIMIT).read_to_string(&mut err).await);
            }
        };
        tokio::join!(read_out, read_err);
        child.wait().await
    };
    let status = match tokio::time::timeout(TIMEOUT, read).await {
        Ok(status) => status.map_err(|e| failed(format!("cannot wait for the child: {e}")))?,
        Err(_) => {
            return Err(failed(format!(
                "the key did not answer it within {} s",
                TIMEOUT.as_secs()
            )));
        }
    };
    if !status.success() {
        let last = err
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it said nothing");
        let last = last.strip_prefix("claviger: ").unwrap_or(last);
        return Err(failed(format!("{last} ({status})")));
    }
    // The crate may print of its own accord: the answer is the last line.
    let answer = out.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    answer.ok_or_else(|| failed("its answer could not be read".to_owned()))
}

/// The child: reads the key and prints one line of JSON.
///
/// # Errors
/// [`Failure::Local`] when the key is not there, is not told apart from another, or refuses.
pub fn run(args: &SecondOpinionArgs) -> Result<u8, Failure> {
    let param = choose(args, ctap_hid_fido2::get_fidokey_devices())?;
    let mut config = LibCfg::init();
    config.enable_keep_alive_msg = false;
    let refused = |what: &str, e: &dyn std::fmt::Display| Failure::local(format!("{what}: {e}"));
    let key = FidoKeyHid::new(&[param], &config).map_err(|e| {
        refused(
            "the key cannot be opened (run this as root, or check “claviger doctor”)",
            &e,
        )
    })?;
    let info = key
        .get_info()
        .map_err(|e| refused("the key does not tell what it is", &e))?;
    let mut answer = Map::new();
    answer.insert("versions".to_owned(), json!(info.versions));
    answer.insert("extensions".to_owned(), json!(info.extensions));
    answer.insert("aaguid".to_owned(), json!(HEXLOWER.encode(&info.aaguid)));
    let options: Map<String, Value> = info
        .options
        .iter()
        .map(|(name, on)| (name.clone(), json!(on)))
        .collect();
    let has_pin = info.options.iter().any(|(name, on)| name == "clientPin" && *on);
    answer.insert("options".to_owned(), Value::Object(options));
    // 0 is how the crate says that the key did not tell.
    if info.max_msg_size != 0 {
        answer.insert("max-msg-size".to_owned(), json!(info.max_msg_size));
    }
    answer.insert("pin-uv-auth-protocols".to_owned(), json!(info.pin_uv_auth_protocols));
    if has_pin {
        let retries = key
            .get_pin_retries()
            .map_err(|e| refused("the key does not tell its PIN tries", &e))?;
        answer.insert("pin-retries".to_owned(), json!(retries));
    }
    // To the parent's pipe; written whole or not at all.
    println!("{}", Value::Object(answer));
    Ok(exit::DONE)
}

/// The one key that is meant: by place where the kernel tells it, else the only one of its make.
fn choose(args: &SecondOpinionArgs, present: Vec<HidInfo>) -> Result<HidParam, Failure> {
    let mut alike: Vec<HidInfo> = present
        .into_iter()
        .filter(|key| key.vid == args.vendor && key.pid == args.product)
        .collect();
    if alike.len() > 1 {
        alike.retain(|key| usb_port(&key.param).is_some_and(|port| args.place == format!("USB port {port}")));
    }
    match (alike.pop(), alike.len()) {
        (Some(only), 0) => Ok(only.param),
        (None, _) => Err(Failure::local(format!(
            "no FIDO key {:04x}:{:04x} is found at “{}” through hidraw",
            args.vendor, args.product, args.place
        ))),
        (Some(_), _) => Err(Failure::local(
            "several keys of this make cannot be told apart: leave only one plugged in",
        )),
    }
}

/// `1-4` of `…/usb1/1-4/1-4:1.0/0003:1050:0407.0001/hidraw/hidraw3`, from the link that sysfs keeps for the node.
fn usb_port(param: &HidParam) -> Option<String> {
    let HidParam::Path(node) = param else { return None };
    let node = std::path::Path::new(node).file_name()?;
    let link = std::fs::read_link(std::path::Path::new("/sys/class/hidraw").join(node)).ok()?;
    port_of(link.to_str()?)
}

/// The USB interface directory is the one with a colon and a dot, `1-4:1.0`; what stands before the colon is the port.
fn port_of(syspath: &str) -> Option<String> {
    syspath.split('/').find_map(|part| {
        let (port, interface) = part.split_once(':')?;
        let is_port = port.split_once('-').is_some_and(|(bus, _)| bus.parse::<u16>().is_ok());
        (is_port && interface.contains('.')).then(|| port.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_path() {
        let path = "../../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4.2/1-4.2:1.0/0003:1050:0407.0001/hidraw/hidraw3";
        assert_eq!(port_of(path).as_deref(), Some("1-4.2"));
        assert_eq!(
            port_of("../../devices/virtual/misc/uhid/0003:1050:0407.0001/hidraw/hidraw3"),
            None
        );
    }

    fn key(path: &str) -> HidInfo {
        HidInfo {
            pid: 0x0407,
            vid: 0x1050,
            product_string: String::new(),
            info: String::new(),
            param: HidParam::Path(path.to_owned()),
        }
    }

    #[test]
    fn two_keys_that_cannot_be_told_apart_are_refused() {
        let args = SecondOpinionArgs {
            vendor: 0x1050,
            product: 0x0407,
            place: String::new(),
        };
        assert!(choose(&args, vec![key("/dev/hidraw-a")]).is_ok());
        assert!(choose(&args, vec![key("/dev/hidraw-a"), key("/dev/hidraw-b")]).is_err());
        assert!(choose(&args, vec![]).is_err());
    }
}
