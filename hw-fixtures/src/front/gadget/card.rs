//! A smart card reader as an interface of a gadget: CCID 1.1 over FunctionFS, with the token's card always in it, as a key that
//! is a card, too, shows itself.
//!
//! The host's commands are answered here as far as they are the reader's; power and APDUs go to the token.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::PollFlags;

use super::super::bridge::{CARD_COMMAND, CARD_POWER, CARD_RELEASE};
use super::{Output, ready, say};

/// Longest message (`dwMaxCCIDMessageLength`): a header and an extended APDU of 3 KiB.
const LONGEST: usize = 3_082;
const HEADER: usize = 10;
/// How soon an endpoint that the host has not opened yet is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// CCID 1.1 section 5.1: one slot, T=1, everything negotiated by the reader (`dwFeatures` FE), short and extended APDUs.
const CLASS: &[u8; 54] = &[
    54, 0x21, 0x10, 0x01, 0, 7, 2, 0, 0, 0, 0xa0, 0x0f, 0, 0, 0xa0, 0x0f, 0, 0, 0, 0, 0x2a, 0, 0, 0, 0x2a, 0, 0, 0,
    0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0, 4, 0, 0x0a, 0x0c, 0, 0, 0xff, 0xff, 0, 0, 0, 1,
];

/// The reader's interface of one gadget.
pub(super) struct CardFace {
    mounted: PathBuf,
    threads: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
    answers: Option<Sender<Vec<u8>>>,
}

impl CardFace {
    /// Describes the interface to FunctionFS, mounted for the function called `name`. After this the function can be linked into
    /// a configuration.
    pub(super) fn describe(name: &str) -> io::Result<(Self, File)> {
        let mounted = std::env::temp_dir().join(name);
        fs::create_dir_all(&mounted)?;
        let mut face = Self {
            mounted: PathBuf::new(),
            threads: Vec::new(),
            over: Arc::default(),
            answers: None,
        };
        let status = Command::new("mount")
            .args(["-t", "functionfs", name])
            .arg(&mounted)
            .status()?;
        if !status.success() {
            return Err(io::Error::other("FunctionFS cannot be mounted"));
        }
        face.mounted = mounted;
        let mut control = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(face.mounted.join("ep0"))?;
        control.write_all(&descriptors())?;
        control.write_all(&strings())?;
        Ok((face, control))
    }

    /// Begins to answer; `key` is the key's number.
    pub(super) fn serve(&mut self, control: File, stop: PipeReader, key: u16, output: &Output) -> io::Result<()> {
        let (answers, to_send) = channel();
        let open = |name: &str| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open(self.mounted.join(name))
        };
        let slot = Slot {
            commands: open("ep1")?,
            replies: open("ep2")?,
            over: self.over.clone(),
            answers: to_send,
            output: output.clone(),
            key,
            powered: false,
        };
        self.answers = Some(answers);
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        self.threads
            .push(named("gadget-control").spawn(move || refuse_requests(&control, &stop))?);
        self.threads.push(named("gadget-card").spawn(move || slot.serve())?);
        Ok(())
    }

    /// Answers to reset and responses come from the token.
    pub(super) fn answer(&self, bytes: Vec<u8>) {
        if let Some(answers) = &self.answers {
            // The slot has ended only when the gadget is going.
            let _ = answers.send(bytes);
        }
    }

    /// Ends its threads; the gadget is off the bus.
    pub(super) fn end(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(self.answers.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }

    /// Unmounts; the function is no longer in a configuration.
    pub(super) fn unmount(&mut self) {
        if self.mounted != Path::new("") {
            // A mount that stays is in nobody's way.
            let _ = Command::new("umount").arg(&self.mounted).status();
            let _ = fs::remove_dir(&self.mounted);
        }
    }
}

/// `usb_functionfs_descs_head_v2` (linux/usb/functionfs.h) with the interface at full and at high speed: two bulk endpoints, no
/// interrupt endpoint (CCID 1.1 section 4.2.1 lets a reader whose card is never taken out do without).
fn descriptors() -> Vec<u8> {
    let mut both = Vec::new();
    for packet in [64_u16, 512] {
        let [low, high] = packet.to_le_bytes();
        both.extend([9, 4, 0, 0, 2, 0x0b, 0, 0, 0]);
        both.extend(CLASS);
        both.extend([7, 5, 0x01, 2, low, high, 0]);
        both.extend([7, 5, 0x82, 2, low, high, 0]);
    }
    let words = [3, u32::try_from(20 + both.len()).unwrap_or(u32::MAX), 1 | 2, 4, 4];
    let mut all: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    all.extend(both);
    all
}

/// `usb_functionfs_strings_head`: none.
fn strings() -> Vec<u8> {
    [2_u32, 16, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Class requests (CCID 1.1 section 5.3) are optional: each is refused by going the wrong way, which stalls it.
fn refuse_requests(control: &File, stop: &PipeReader) {
    const SETUP: u8 = 4;
    let mut control_io = control;
    while let Ok(true) = ready(control, stop, PollFlags::POLLIN, None) {
        let mut event = [0; 12];
        match control_io.read(&mut event) {
            Ok(12) => {}
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        let [kind, .., what, _, _, _] = event;
        if what == SETUP {
            // EL2HLT is how success is told here.
            let _ = if kind & 0x80 == 0 {
                control_io.write(&[])
            } else {
                control_io.read(&mut [])
            };
        }
    }
}

/// The one slot, with the card in it.
struct Slot {
    commands: File,
    replies: File,
    over: Arc<AtomicBool>,
    answers: Receiver<Vec<u8>>,
    output: Output,
    key: u16,
    powered: bool,
}

impl Slot {
    fn serve(mut self) {
        let mut buffer = vec![0; 4096];
        while !self.over.load(Ordering::SeqCst) {
            match self.commands.read(&mut buffer) {
                Ok(length) => {
                    let message = buffer.get(..length).unwrap_or_default().to_vec();
                    if self.command(&message).is_none() {
                        return;
                    }
                }
                // The host has not opened it yet, or no longer.
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }

    /// CCID 1.1 section 6.1; `None` when the gadget is going.
    fn command(&mut self, message: &[u8]) -> Option<()> {
        let Some((head, data)) = message.split_at_checked(HEADER) else {
            return Some(());
        };
        let [kind, _, _, _, _, _, sequence, ..] = *head else {
            return Some(());
        };
        let (reply, data) = match kind {
            // PC_to_RDR_IccPowerOn
            0x62 => {
                self.powered = true;
                (0x80, self.ask(CARD_POWER, &[])?)
            }
            // PC_to_RDR_IccPowerOff
            0x63 => {
                self.powered = false;
                say(&self.output, CARD_RELEASE, self.key, &[]);
                (0x81, Vec::new())
            }
            // PC_to_RDR_GetSlotStatus
            0x65 => (0x81, Vec::new()),
            // PC_to_RDR_XfrBlock
            0x6f => (0x80, self.ask(CARD_COMMAND, data)?),
            // PC_to_RDR_SetParameters, ResetParameters, GetParameters: T=1 as section 6.2.3 lays it out.
            0x61 | 0x6c | 0x6d => (0x82, vec![0x11, 0x10, 0x00, 0x15, 0x00, 0xfe, 0x00]),
            _ => {
                self.reply(0x81, sequence, 0x40, &[]);
                return Some(());
            }
        };
        self.reply(reply, sequence, 0, &data);
        Some(())
    }

    fn ask(&self, kind: u8, payload: &[u8]) -> Option<Vec<u8>> {
        say(&self.output, kind, self.key, payload);
        self.answers.recv().ok()
    }

    /// CCID 1.1 section 6.2; `failed` is `bmCommandStatus` in its place. Parameters tell their protocol in the last byte.
    fn reply(&mut self, kind: u8, sequence: u8, failed: u8, data: &[u8]) {
        let data = data.get(..LONGEST - HEADER).unwrap_or(data);
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes();
        let status = failed | u8::from(!self.powered);
        let last = u8::from(kind == 0x82);
        let mut message = vec![kind];
        message.extend(length);
        message.extend([0, sequence, status, 0, last]);
        message.extend(data);
        // A host that has gone does not read it.
        let _ = self.replies.write(&message);
        if message.len() % 512 == 0 {
            let _ = self.replies.write(&[]);
        }
    }
}
