//! `claviger register`

use zbus::{Fd, Variant};

use crate::client::arguments::{OathArgs, RegisterFido2, RegisterFob, RegisterKind, RegisterNfcFob, RegisterOathCard};
use crate::client::failure::Failure;
use crate::client::provider::Exchange;
use crate::client::render::clean;
use crate::client::secret::{self, SeedSource};
use crate::client::session::{Session, no_options};
use crate::client::{app, follow, lookup, replace, show};
use crate::contract::options;
use crate::contract::proxy::Options;
use crate::types::{FactorKind, Secret};

/// Registers one token.
pub async fn run(session: &Session, kind: &RegisterKind) -> Result<u8, Failure> {
    match kind {
        RegisterKind::Fido2(args) => fido2(session, args).await,
        RegisterKind::OathCard(args) => oath_card(session, args).await,
        RegisterKind::App(args) => app::app(session, args).await,
        RegisterKind::RecoveryCodes(args) => app::recovery_codes(session, args).await,
        RegisterKind::Fob(args) => fob(session, args).await,
        RegisterKind::NfcFob(args) => nfc_fob(session, args).await,
    }
}

async fn fido2(session: &Session, args: &RegisterFido2) -> Result<u8, Failure> {
    let device = lookup::device(session, args.device.as_deref(), "hid").await?;
    let described = session
        .device(device.path.clone())
        .await?
        .describe(&no_options())
        .await?;
    let key = format!("the {} on {}", clean(device.text("Name")), clean(device.text("Place")));
    let pin = match PinState::read(&show::embedded(&described, "fido")) {
        PinState::Unset { min } => {
            let prompt = format!("New PIN for {key}, at least {min} characters: ");
            secret::new_pin(args.pin, &prompt, min)?
        }
        PinState::Set => secret::pin(args.pin, &format!("PIN of {key}: "))?,
        PinState::Unknown => Secret::new(NOT_USED.to_vec()),
    };
    let mut options = session.options();
    insert_text(&mut options, options::LABEL, args.label.as_deref());
    insert_text(&mut options, options::SERIAL, args.serial.as_deref());
    replace::insert(session, &mut options, &args.place).await?;
    if let Some(exchange) = Exchange::begin(&args.exchange, args.provider.as_deref())? {
        return exchange
            .register(session, &device.path, &args.subject, &pin, options)
            .await;
    }
    insert_text(&mut options, options::RP_ID, args.rp_id.as_deref());
    insert_text(&mut options, options::USER_NAME, args.user_name.as_deref());
    if let Some(discoverable) = args.discoverable {
        options.insert(options::DISCOVERABLE, Variant::Bool(discoverable));
    }
    if let Some(wait_s) = args.wait {
        options.insert(options::WAIT_S, Variant::U32(wait_s));
    }
    if args.organisation {
        options.insert(options::ORGANISATION, Variant::Bool(true));
    }
    let tokens = session.tokens().await?;
    let sealed = Fd::from(secret::sealed(&pin)?);
    let ended = follow::run(
        session,
        tokens.register_fido2(&device.path, &args.subject, sealed, &options),
    )
    .await?;
    let sentence = registered_key(&ended, &args.subject) + &replace::told(&ended);
    ended.report(session, "register", &sentence)
}

/// What is said of a key that was registered.
pub fn registered_key(ended: &follow::Ended, subject: &str) -> String {
    let pin = match ended.text("pin-set").as_str() {
        "true" => " Its PIN was set.",
        _ => "",
    };
    let vouched = match (ended.text("attestation").as_str(), ended.text("attested-model")) {
        ("metadata", model) => format!(" The metadata vouch for it: {}.", clean(&model)),
        ("authority", _) => " A configured authority vouches for it.".to_owned(),
        ("", _) => String::new(),
        (worth, _) => format!(" Nobody vouches for its model (attestation: {}).", clean(worth)),
    };
    format!(
        "Registered FIDO2 key {} for {}.{pin}{vouched}",
        ended.text("token"),
        clean(subject)
    )
}

async fn oath_card(session: &Session, args: &RegisterOathCard) -> Result<u8, Failure> {
    let device = lookup::device(session, args.device.as_deref(), "card").await?;
    let mut options = oath_options(session, &args.oath);
    insert_text(&mut options, options::LABEL, args.label.as_deref());
    insert_text(&mut options, options::SERIAL, args.serial.as_deref());
    replace::insert(session, &mut options, &args.place).await?;
    for (key, wanted) in [
        (options::TOUCH, args.touch),
        (options::ONLY_INCREASING, args.only_increasing),
        (options::EVENT, args.event),
    ] {
        if wanted {
            options.insert(key, Variant::Bool(true));
        }
    }
    if let Some(password) = secret::password(args.password)? {
        options.insert(options::PASSWORD, Variant::Fd(Fd::from(secret::sealed(&password)?)));
    }
    let tokens = session.tokens().await?;
    let ended = follow::run(
        session,
        tokens.register_oath_card(&device.path, &args.subject, &options),
    )
    .await?;
    let sentence = format!(
        "Registered OATH card {} for {} (credential “{}”).",
        ended.text("token"),
        clean(&args.subject),
        ended.text("oath-name")
    );
    ended.report(session, "register", &sentence)
}

async fn nfc_fob(session: &Session, args: &RegisterNfcFob) -> Result<u8, Failure> {
    let device = lookup::device(session, args.device.as_deref(), "card").await?;
    let mut options = session.options();
    if let Some(path) = &args.seed_file {
        let seed = secret::seed(&SeedSource::File(path))?;
        options.insert(options::SEED, Variant::Fd(Fd::from(secret::sealed(&seed)?)));
        options.insert(options::ENCODING, Variant::from(args.encoding.as_str()));
    }
    if let Some(algorithm) = &args.algorithm {
        options.insert(options::ALGORITHM, Variant::from(algorithm.to_ascii_uppercase()));
    }
    if let Some(period) = args.period {
        options.insert(options::PERIOD_S, Variant::U32(period));
    }
    if args.unsynchronised {
        options.insert(options::UNSYNCHRONISED, Variant::Bool(true));
    }
    insert_text(&mut options, options::LABEL, args.label.as_deref());
    replace::insert(session, &mut options, &args.place).await?;
    let tokens = session.tokens().await?;
    let call = tokens.register_nfc_fob(&device.path, &args.subject, &options);
    let ended = follow::run(session, call).await?;
    let token = ended.text("token");
    let sentence = format!(
        "Registered NFC fob {token} for {}. It is active once it has shown a code: claviger test {token}",
        clean(&args.subject)
    );
    let sentence = sentence + &replace::told(&ended);
    ended.report(session, "register", &sentence)
}

async fn fob(session: &Session, args: &RegisterFob) -> Result<u8, Failure> {
    let source = match (&args.seed_file, args.seed_stdin) {
        (Some(path), _) => SeedSource::File(path),
        (None, true) => SeedSource::Stdin,
        (None, false) => SeedSource::Prompt,
    };
    let seed = secret::seed(&source)?;
    let codes = if args.no_codes { Vec::new() } else { codes(&args.codes)? };
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    let mut options = oath_options(session, &args.oath);
    options.insert(options::ENCODING, Variant::from(args.encoding.as_str()));
    if args.event {
        options.insert(options::FACTOR, Variant::from(FactorKind::Event.as_str()));
    }
    if let Some(counter) = args.counter {
        options.insert(options::COUNTER, Variant::U64(counter));
    }
    insert_text(&mut options, options::MODEL, args.model.as_deref());
    insert_text(&mut options, options::MAKER, args.maker.as_deref());
    insert_text(&mut options, options::LABEL, args.label.as_deref());
    replace::insert(session, &mut options, &args.place).await?;
    let tokens = session.tokens().await?;
    let sealed = Fd::from(secret::sealed(&seed)?);
    drop(seed);
    let call = tokens.register_fob(&args.subject, &args.serial, sealed, &codes, &options);
    let ended = follow::run(session, call).await?;
    let clock = match (ended.number("offset-s"), ended.number("counter")) {
        (Some(s), _) => format!(" Its clock {}.", in_words(s)),
        (None, Some(counter)) => format!(" It has counted to {counter}."),
        (None, None) => String::new(),
    };
    let sentence = format!(
        "Registered fob {} (serial {}) for {}.{clock}",
        ended.text("token"),
        clean(&args.serial),
        clean(&args.subject)
    );
    let sentence = sentence + &replace::told(&ended);
    ended.report(session, "register", &sentence)
}

/// Two to four codes: those given, else asked for one after the other.
pub fn codes(given: &[String]) -> Result<Vec<String>, Failure> {
    match given {
        [] => {
            let instead = "the codes as arguments";
            let now = secret::ask_line("Type the code shown now: ", instead)?;
            let next = secret::ask_line("Wait until it changes. Type the next code: ", instead)?;
            Ok(vec![compact(&now), compact(&next)])
        }
        [_] => Err(Failure::usage(
            "one code is not enough: give two that follow each other on the display",
        )),
        several => Ok(several.iter().map(|code| compact(code)).collect()),
    }
}

/// A code as the display shows it, often in groups, without the gaps.
pub fn compact(code: &str) -> String {
    code.chars().filter(|c| !c.is_whitespace()).collect()
}

/// An offset in seconds in words.
pub fn in_words(offset_s: i64) -> String {
    match offset_s {
        0 => "agrees with this host's".to_owned(),
        s if s < 0 => format!("is {} s slow", s.unsigned_abs()),
        s => format!("is {s} s fast"),
    }
}

/// The credential as options.
pub fn oath_options(session: &Session, args: &OathArgs) -> Options<'static> {
    let mut options = session.options();
    if let Some(algorithm) = &args.algorithm {
        options.insert(options::ALGORITHM, Variant::from(algorithm.to_ascii_uppercase()));
    }
    if let Some(digits) = args.digits {
        options.insert(options::DIGITS, Variant::U32(digits));
    }
    if let Some(period) = args.period {
        options.insert(options::PERIOD_S, Variant::U32(period));
    }
    options
}

/// An option, if it was given.
pub fn insert_text<'a>(options: &mut Options<'a>, key: &'a str, value: Option<&'a str>) {
    if let Some(value) = value {
        options.insert(key, Variant::from(value));
    }
}

/// What a key says about its PIN.
#[derive(Debug, PartialEq, Eq)]
enum PinState {
    /// It has one.
    Set,
    /// It has none; a new one needs so many code points.
    Unset { min: usize },
    /// It is a U2F key, which knows none.
    Unknown,
}

/// What stands in the place of a PIN where the key knows none: the daemon reads it and leaves it.
const NOT_USED: &[u8] = b"0000";

impl PinState {
    /// Reads `clientPin` and `minPINLength` (CTAP 2.1 section 6.4) of a described key. A key that says nothing is taken to
    /// have a PIN: asking once too often is harmless, the daemon looks for itself.
    fn read(fido: &serde_json::Value) -> Self {
        let has_pin = fido
            .get("options")
            .and_then(|options| options.get("clientPin"))
            .and_then(|v| v.as_bool());
        if fido.get("versions") == Some(&serde_json::json!(["U2F_V2"])) {
            return Self::Unknown;
        }
        if has_pin != Some(false) {
            return Self::Set;
        }
        let min = ["min-pin-length", "minPINLength", "min_pin_length"]
            .iter()
            .find_map(|key| fido.get(*key)?.as_u64())
            .and_then(|min| usize::try_from(min).ok())
            .unwrap_or(secret::PIN_CODE_POINTS);
        Self::Unset {
            min: min.clamp(secret::PIN_CODE_POINTS, 63),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pin_is_asked_twice_only_where_the_key_says_it_has_none() {
        assert_eq!(PinState::read(&json!({"options": {"clientPin": true}})), PinState::Set);
        assert_eq!(PinState::read(&json!({"options": {}})), PinState::Set);
        assert_eq!(PinState::read(&json!({"versions": ["U2F_V2"]})), PinState::Unknown);
        assert_eq!(
            PinState::read(&json!({"versions": ["U2F_V2", "FIDO_2_0"]})),
            PinState::Set
        );
        let unset = json!({"options": {"clientPin": false}, "min-pin-length": 6});
        assert_eq!(PinState::read(&unset), PinState::Unset { min: 6 });
        let hostile = json!({"options": {"clientPin": false}, "min-pin-length": u64::MAX});
        assert_eq!(PinState::read(&hostile), PinState::Unset { min: 63 });
    }

    #[test]
    fn one_code_is_refused_and_gaps_are_dropped() {
        assert!(codes(&["123456".into()]).is_err());
        assert_eq!(
            codes(&["123 456".into(), "654321".into()]).unwrap(),
            ["123456", "654321"]
        );
    }
}
