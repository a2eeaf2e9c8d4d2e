//! One connection to one daemon. Everything is sent to the unique name that owned ours when the client started, so that a
//! signal or reply can only come from that process.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use zbus::fdo::{DBusProxy, ManagedObjects, ObjectManagerProxy};
use zbus::names::{BusName, OwnedUniqueName, WellKnownName};
use zbus::proxy::CacheProperties;
use zbus::{Connection, ObjectPath, OwnedObjectPath, Variant, conn};

use crate::client::agent::Agent;
use crate::client::arguments::Global;
use crate::client::failure::Failure;
use crate::client::lookup;
use crate::client::render::Output;
use crate::contract::proxy::{
    Bypasses1Proxy, Case1Proxy, Cases1Proxy, Device1Proxy, Drift1Proxy, Fido1Proxy, Manager1Proxy, Operation1Proxy,
    Options, Subjects1Proxy, Tokens1Proxy, Verify1Proxy,
};
use crate::contract::{BUS_NAME, CASES_PATH, ROOT_PATH, options};
use crate::types::CaseId;

/// How long a call may take when `--timeout` does not say: polkit may be asking a person for a password meanwhile.
const CALL_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a daemon that is starting is waited for.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// Which bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bus {
    /// The system bus: polkit decides.
    System,
    /// The caller's own bus.
    Session,
    /// A bus at this address.
    Address(String),
}

impl Bus {
    /// `--bus`, else `CLAVIGER_BUS`, else the system bus.
    #[must_use]
    pub fn choose(argument: Option<&str>) -> Self {
        let chosen = argument
            .map(str::to_owned)
            .or_else(|| std::env::var("CLAVIGER_BUS").ok())
            .unwrap_or_default();
        match chosen.as_str() {
            "" | "system" => Self::System,
            "session" => Self::Session,
            address => Self::Address(address.to_owned()),
        }
    }

    /// Connects, without asking for the daemon.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn connect(&self, timeout: Option<Duration>) -> Result<Connection, Failure> {
        let builder = match self {
            Self::System => conn::Builder::system(),
            Self::Session => conn::Builder::session(),
            Self::Address(address) => conn::Builder::address(address.as_str()),
        };
        let timeout = timeout.unwrap_or(CALL_TIMEOUT);
        let connecting = builder.method_timeout(timeout).build();
        match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => connected.map_err(|e| Failure::Unreachable(format!("no connection to the bus ({e})"))),
            Err(_) => Err(Failure::Unreachable("the bus did not answer in time".to_owned())),
        }
    }
}

/// A session in a case, held by its descriptor.
struct Attached {
    id: String,
    _session: zbus::OwnedFd,
}

/// How long a session in a case lasts.
pub struct Terms {
    /// Id of the case.
    pub case: String,
    /// It ends after so many seconds without a call.
    pub idle_s: u64,
    /// It ends after so many seconds in any case.
    pub absolute_s: u64,
}

/// A connection to the daemon and how results are shown.
pub struct Session {
    /// The bus connection.
    pub connection: Connection,
    /// Unique name of the daemon.
    pub daemon: OwnedUniqueName,
    /// Where results go.
    pub output: Output,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// The case that the verbs are done in, and the session in it.
    case: Option<Attached>,
    /// The text agent that asks for a password while it lives.
    _agent: Option<Agent>,
}

impl Session {
    /// Connects, has the bus start the daemon when it may, and starts a text agent on the system bus.
    ///
    /// # Errors
    /// [`Failure::Unreachable`], [`Failure::Denied`].
    pub async fn open(global: &Global) -> Result<Self, Failure> {
        let bus = Bus::choose(global.bus.as_deref());
        let timeout = global.timeout.map(Duration::from_secs);
        let connection = bus.connect(timeout).await?;
        let daemon = find_daemon(&connection).await?;
        let agent = if bus == Bus::System { Agent::start().await } else { None };
        let session = Self {
            connection,
            daemon,
            case: None,
            output: Output {
                json: global.json,
                quiet: global.quiet,
            },
            timeout,
            _agent: agent,
        };
        session.await_ready().await?;
        Ok(session)
    }

    /// Attaches to a case: from then on, every verb is done in it. The session ends with this connection.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn attach(&mut self, given: &str) -> Result<Terms, Failure> {
        let id = lookup::case(self, given).await?;
        let (session, terms) = match self.case(&id).await?.attach(&no_options()).await.map_err(Failure::from) {
            // Only open cases are on the bus.
            Err(Failure::Refused { name, .. }) if name.ends_with(".UnknownObject") => {
                return Err(Failure::local(format!("case {id} is not open: open another one")));
            }
            attached => attached?,
        };
        let seconds = |key: &str| {
            terms
                .get(key)
                .and_then(|value| value.downcast_ref::<u32>().ok())
                .unwrap_or(0)
        };
        let terms = Terms {
            case: id.clone(),
            idle_s: seconds("idle-s").into(),
            absolute_s: seconds("absolute-s").into(),
        };
        self.case = Some(Attached { id, _session: session });
        Ok(terms)
    }

    /// The options of a call: the case, where the verbs are done in one.
    #[must_use]
    pub fn options(&self) -> Options<'static> {
        let mut given = no_options();
        if let Some(case) = &self.case {
            given.insert(options::CASE, Variant::from(case.id.clone()));
        }
        given
    }

    /// A daemon that the bus has just started is still looking at the devices. Waits a little for the end of that; one that
    /// takes longer says so itself.
    async fn await_ready(&self) -> Result<(), Failure> {
        let builder = Manager1Proxy::builder(&self.connection).destination(self.destination());
        let manager = builder.cache_properties(CacheProperties::Lazily).build().await?;
        // Subscribed first, asked second.
        let mut changes = manager.receive_ready_changed().await;
        if self.manager().await?.ready().await? {
            return Ok(());
        }
        let became_ready = async {
            while let Some(change) = changes.next().await {
                if change.get().await.unwrap_or(true) {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(READY_TIMEOUT, became_ready).await);
        Ok(())
    }

    fn destination(&self) -> BusName<'static> {
        BusName::Unique(self.daemon.inner().clone())
    }

    /// The daemon as a whole.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn manager(&self) -> Result<Manager1Proxy<'static>, Failure> {
        let builder = Manager1Proxy::builder(&self.connection).destination(self.destination());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// The ledger.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn tokens(&self) -> Result<Tokens1Proxy<'static>, Failure> {
        let builder = Tokens1Proxy::builder(&self.connection).destination(self.destination());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// Where cases are opened and found.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn cases(&self) -> Result<Cases1Proxy<'static>, Failure> {
        let builder = Cases1Proxy::builder(&self.connection).destination(self.destination());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// One open case.
    ///
    /// # Errors
    /// As the bus says; [`Failure::Usage`] for what is no id.
    pub async fn case(&self, id: &str) -> Result<Case1Proxy<'static>, Failure> {
        let id: CaseId = id.parse().map_err(|_| Failure::usage(format!("“{id}” is no case")))?;
        let builder = Case1Proxy::builder(&self.connection)
            .destination(self.destination())
            .path(format!("{CASES_PATH}/{}", id.simple()));
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// Emergency codes.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn bypasses(&self) -> Result<Bypasses1Proxy<'static>, Failure> {
        let builder = Bypasses1Proxy::builder(&self.connection).destination(self.destination());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// What is known of clocks.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn drift(&self) -> Result<Drift1Proxy<'static>, Failure> {
        let builder = Drift1Proxy::builder(&self.connection).destination(self.destination());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// Whom tokens are for.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn subjects(&self) -> Result<Subjects1Proxy<'static>, Failure> {
        let builder = Subjects1Proxy::builder(&self.connection).destination(self.destination());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// What verifies codes.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn verifier(&self) -> Result<Verify1Proxy<'static>, Failure> {
        let builder = Verify1Proxy::builder(&self.connection).destination(self.destination());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// One device.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn device(&self, path: ObjectPath<'static>) -> Result<Device1Proxy<'static>, Failure> {
        let builder = Device1Proxy::builder(&self.connection)
            .destination(self.destination())
            .path(path);
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// The FIDO2 application of a device.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn fido(&self, path: ObjectPath<'static>) -> Result<Fido1Proxy<'static>, Failure> {
        let builder = Fido1Proxy::builder(&self.connection)
            .destination(self.destination())
            .path(path);
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// One operation.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn operation(&self, path: &OwnedObjectPath) -> Result<Operation1Proxy<'static>, Failure> {
        let builder = Operation1Proxy::builder(&self.connection)
            .destination(self.destination())
            .path(path.clone().into_inner());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// The proxy for everything below the root.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn objects(&self) -> Result<ObjectManagerProxy<'static>, Failure> {
        let builder = ObjectManagerProxy::builder(&self.connection)
            .destination(self.destination())
            .path(ROOT_PATH);
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// Everything below the root.
    ///
    /// # Errors
    /// As the bus says.
    pub async fn managed(&self) -> Result<ManagedObjects, Failure> {
        Ok(self.objects().await?.get_managed_objects().await?)
    }
}

/// No options.
#[must_use]
pub fn no_options() -> Options<'static> {
    HashMap::new()
}

/// The unique name of the daemon, started by the bus when it is not running.
async fn find_daemon(connection: &Connection) -> Result<OwnedUniqueName, Failure> {
    let name = || BusName::WellKnown(WellKnownName::from_static_str_unchecked(BUS_NAME));
    let bus = DBusProxy::new(connection).await?;
    match bus.get_name_owner(name()).await {
        Ok(owner) => Ok(owner),
        Err(zbus::fdo::Error::NameHasNoOwner(_)) => {
            let start = WellKnownName::from_static_str_unchecked(BUS_NAME);
            bus.start_service_by_name(start, 0)
                .await
                .map_err(|error| match Failure::from(error) {
                    Failure::Denied(reason) => Failure::Denied(reason),
                    other => Failure::Unreachable(format!("it is not running and the bus cannot start it ({other})")),
                })?;
            Ok(bus.get_name_owner(name()).await?)
        }
        Err(error) => Err(error.into()),
    }
}
