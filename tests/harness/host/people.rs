//! People under uids of their own, with connections to the bus that a test can use like its own.

use std::collections::HashMap;
use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use futures_util::StreamExt;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use zbus::OwnedVariant;
use zbus::message::{Flags, Type};
use zbus::{Connection, Message, MessageStream};

use super::{Host, Process, within};

/// Who there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// The service's own user.
    Service,
    /// In the group `claviger-helpdesk`; no rule of the tests names them.
    HelpDesk,
    /// A rule of the tests says yes to everything.
    Allowed,
    /// No rule names them: the defaults of the shipped policy.
    Stranger,
    /// A rule of the tests says no to everything.
    Barred,
}

impl Person {
    pub const ALL: &'static [Self] = &[
        Self::Service,
        Self::HelpDesk,
        Self::Allowed,
        Self::Stranger,
        Self::Barred,
    ];

    /// The login name.
    pub const fn user(self) -> &'static str {
        match self {
            Self::Service => "claviger",
            Self::HelpDesk => "claviger-desk",
            Self::Allowed => "claviger-may",
            Self::Stranger => "claviger-stranger",
            Self::Barred => "claviger-barred",
        }
    }

    /// A uid that no host uses.
    pub const fn uid(self) -> u32 {
        61_840 + self as u32
    }
}

/// A connection to the bus under a uid.
pub struct Caller {
    pub connection: Connection,
    /// The process the bus takes for the caller.
    process: Process,
    /// It ends when this closes.
    _line: UnixStream,
    who: Person,
}

/// How the login uid of a process comes about (`/proc/PID/loginuid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginUid {
    /// It has what the tests have.
    Inherited,
    /// Root sets it, as a log-in does.
    Set(u32),
    /// It has none, as a service.
    Unset,
    /// It has none, and sets itself this one, as any process can once.
    Own(u32),
}

/// Connects, hands the connected socket over, and lives until it is told to end. Told a number, it sets that as its login uid.
const CONNECT: &str = "import socket, sys
if len(sys.argv) > 2:
    open('/proc/self/loginuid', 'w').write(sys.argv[2])
bus = socket.socket(socket.AF_UNIX)
bus.connect(sys.argv[1])
owner = socket.socket(fileno=0)
socket.send_fds(owner, [b'x'], [bus.fileno()])
bus.close()
owner.recv(1)";

impl Host {
    /// A connection of a person's. The bus asks the kernel who has connected: a process under that uid does, and passes us
    /// the socket.
    pub async fn connect(&self, who: Person) -> Caller {
        self.connect_logged_in(who, LoginUid::Inherited).await
    }

    /// The same from a process with a login uid of its own.
    pub async fn connect_logged_in(&self, who: Person, login: LoginUid) -> Caller {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let path = self.address().split_once("path=").expect("a path").1;
        let path = path.split(',').next().expect("a path");
        let set = match login {
            LoginUid::Inherited => None,
            LoginUid::Set(uid) => Some(uid),
            LoginUid::Unset | LoginUid::Own(_) => Some(u32::MAX),
        };
        let mut command = self.command_as_logged_in(who.user(), set, "python3");
        command.args(["-c", CONNECT, path]);
        if let LoginUid::Own(uid) = login {
            command.arg(uid.to_string());
        }
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let process = Process::start("a person's process", &mut command);
        // The command holds a copy of their end: without it we notice when the process fails.
        drop(command);
        let socket = UnixStream::from(receive_descriptor(&ours));
        let connection = zbus::connection::Builder::unix_stream(socket)
            .user_id(who.uid())
            .build();
        let connection = within("a connection", connection)
            .await
            .expect("a connection under another uid");
        Caller {
            connection,
            process,
            _line: ours,
            who,
        }
    }
}

fn receive_descriptor(from: &UnixStream) -> OwnedFd {
    let mut byte = [0; 1];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message = recvmsg::<()>(
        from.as_raw_fd(),
        &mut buffers,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    );
    let message = message.expect("a message");
    for control in message.cmsgs().expect("control messages") {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let [descriptor] = descriptors.as_slice()
        {
            // SAFETY: the kernel has just made this descriptor for us (SCM_RIGHTS), and nothing else knows its number.
            return unsafe { OwnedFd::from_raw_fd(*descriptor) };
        }
    }
    panic!("the person's process could not connect to the bus");
}

impl Caller {
    /// The process that polkit sees, for an agent to register for.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the process. The connection stays: its socket is ours too.
    pub fn end(&mut self) {
        self.process.end(nix::sys::signal::Signal::SIGKILL);
    }

    pub fn who(&self) -> Person {
        self.who
    }

    /// Calls a method and returns the whole reply; an error reply is an `Err` with name and sentence.
    pub async fn call<B>(
        &self,
        target: (&str, &str, &str),
        body: Option<&B>,
        interactive: bool,
    ) -> Result<Message, Refused>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        call(&self.connection, target, body, interactive).await
    }
}

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub name: String,
    pub sentence: String,
}

/// Calls `(path, interface, member)` of the daemon.
pub async fn call<B>(
    connection: &Connection,
    (path, interface, member): (&str, &str, &str),
    body: Option<&B>,
    interactive: bool,
) -> Result<Message, Refused>
where
    B: serde::Serialize + zbus::wire::DynamicType,
{
    let mut message = Message::method_call(path, member)
        .destination(claviger::contract::BUS_NAME)
        .interface(interface);
    if interactive {
        message = message.with_flags(Flags::ALLOW_INTERACTIVE_AUTH);
    }
    let message = match body {
        Some(body) => message.build(body),
        None => message.build(&()),
    };
    let message = message.expect("a message");
    let serial = message.primary_header().serial_num();
    let mut replies = MessageStream::from(connection);
    connection.send(&message).await.expect("sent");
    let reply = within(member, async {
        loop {
            let reply = replies.next().await.expect("the bus").expect("a message");
            if reply.header().reply_serial() == Some(serial) {
                return reply;
            }
        }
    })
    .await;
    match reply.message_type() {
        Type::MethodReturn => Ok(reply),
        _ => {
            let name = reply.header().error_name().map(ToString::to_string).unwrap_or_default();
            let body = reply.body();
            // A refusal of ours has what to do about it as its second argument.
            let told = body.deserialize::<(&str, HashMap<String, OwnedVariant>)>();
            let sentence = told.map_or_else(
                |_| body.deserialize::<&str>().unwrap_or_default(),
                |(sentence, _)| sentence,
            );
            let sentence = sentence.to_owned();
            Err(Refused { name, sentence })
        }
    }
}

/// Pid, start time and uid as polkit wants them for a `unix-process` subject.
pub fn polkit_subject(pid: u32) -> (&'static str, HashMap<&'static str, zbus::Variant<'static>>) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process");
    // proc(5): the name in parentheses may hold anything; the start time is field 22, the 20th after it.
    let (_, fields) = stat.rsplit_once(") ").expect("fields");
    let started: u64 = fields
        .split(' ')
        .nth(19)
        .and_then(|field| field.parse().ok())
        .expect("a start time");
    let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}")).expect("the process"));
    let uid = i32::try_from(uid).expect("a uid");
    (
        "unix-process",
        HashMap::from([("pid", pid.into()), ("start-time", started.into()), ("uid", uid.into())]),
    )
}
