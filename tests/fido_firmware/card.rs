//! The same firmware on a contactless reader: what stands around the application on a real key (selection, chaining, GET RESPONSE;
//! ISO 7816-4), and a link to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use apdu_app::{App, CommandView, Interface};
use claviger::link::{CardLink, LinkError};
use iso7816::{Data, Status};

const CLASS_NOT_SUPPORTED: [u8; 2] = [0x6e, 0x00];
/// No message is longer than one of CTAPHID.
const MESSAGE: usize = 7609;
const SHORT: usize = 256;

/// The reader, as the host opens it.
pub struct Reader {
    commands: Sender<Vec<u8>>,
    responses: Receiver<Vec<u8>>,
}

/// The other end.
pub struct Field {
    commands: Receiver<Vec<u8>>,
    responses: Sender<Vec<u8>>,
}

pub fn reader() -> (Reader, Field) {
    let (to_card, commands) = channel();
    let (responses, from_card) = channel();
    let reader = Reader {
        commands: to_card,
        responses: from_card,
    };
    (reader, Field { commands, responses })
}

impl CardLink for Reader {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        self.commands.send(command.to_vec()).map_err(|_| LinkError::Gone)?;
        self.responses.recv().map_err(|_| LinkError::Gone)
    }
}

/// Lets the application answer until the key is taken away.
pub fn serve<A: App>(app: &mut A, field: &Field, unplugged: &AtomicBool) {
    let (mut chained, mut rest) = (Vec::new(), Vec::new());
    while !unplugged.load(Ordering::SeqCst) {
        let command = match field.commands.recv_timeout(Duration::from_millis(5)) {
            Ok(command) => command,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let response = answer(app, &command, &mut chained, &mut rest);
        if field.responses.send(response).is_err() {
            return;
        }
    }
}

fn answer<A: App>(app: &mut A, command: &[u8], chained: &mut Vec<u8>, rest: &mut Vec<u8>) -> Vec<u8> {
    let Ok(apdu) = CommandView::try_from(command) else {
        return CLASS_NOT_SUPPORTED.to_vec();
    };
    if command[1] == 0xc0 {
        return piece(rest);
    }
    if command[0] & 0x10 != 0 {
        chained.extend_from_slice(apdu.data());
        return vec![0x90, 0x00];
    }
    let mut reply = Data::<MESSAGE>::new();
    let result = if command[1] == 0xa4 {
        app.select(Interface::Contactless, apdu, reply.as_mut_view())
    } else {
        chained.extend_from_slice(apdu.data());
        let length = u16::try_from(chained.len()).expect("a message").to_be_bytes();
        // The whole chain as one command of the extended form, which is what the application is handed.
        let head = [command[0], command[1], command[2], command[3], 0];
        let whole = [&head[..], &length, chained, &[0, 0]].concat();
        chained.clear();
        match CommandView::try_from(whole.as_slice()) {
            Ok(whole) => app.call(Interface::Contactless, whole, reply.as_mut_view()),
            Err(_) => Err(Status::WrongLength),
        }
    };
    match result {
        Ok(()) => {
            *rest = reply.to_vec();
            piece(rest)
        }
        Err(status) => u16::from(status).to_be_bytes().to_vec(),
    }
}

fn piece(rest: &mut Vec<u8>) -> Vec<u8> {
    let mut out: Vec<u8> = rest.drain(..rest.len().min(SHORT)).collect();
    out.extend(match rest.len() {
        0 => [0x90, 0x00],
        left => [0x61, u8::try_from(left).unwrap_or(0)],
    });
    out
}
