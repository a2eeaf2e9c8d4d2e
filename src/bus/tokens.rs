//! `org.claviger.Tokens1`: the ledger of tokens handed out, and the verbs that change it.
//!
//! Every method goes the same way: measure the arguments, be admitted, look or [`launch`](Tokens::launch).

use std::sync::Arc;

use zbus::message::Header;
use zbus::{ObjectPath, interface};

use super::Desk;
use super::error::BusError;
use super::operation::Accepted;
use super::record;
use super::sealed::{Opened, Sealed, encoding, required};
use super::secret_fd::SecretReader;
use super::secret_out;
use super::values::{Dict, Options, Rows, TextRule, code, codes, device_path, limit, parse};
use crate::codec::seed_file::{Format, Integrity, SeedFileError, Unlock};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::ledger::{Filter, ObligationFilter, TokenRecord};
use crate::lifecycle::{
    Allowances, AppOptions, Fido2Options, FobOptions, ImportOptions, NfcFobOptions, OathOptions, Request,
};
use crate::types::{ExportFormat, ObligationId, RevokeReason, TokenId};

/// The tokens object.
pub(super) struct Tokens {
    desk: Arc<Desk>,
}

impl Tokens {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    /// See [`launch`].
    async fn launch(
        &self,
        header: &Header<'_>,
        deed: Deed,
        sealed: Sealed,
        request: impl FnOnce(Opened) -> Result<Request, BusError> + Send,
    ) -> Result<Accepted, BusError> {
        launch(&self.desk, header, deed, sealed, request).await
    }

    /// A verb that needs a token's id and nothing else.
    async fn simple(
        &self,
        header: &Header<'_>,
        token: &str,
        options: Dict,
        request: impl FnOnce(TokenId) -> Request + Send,
    ) -> Result<Accepted, BusError> {
        let token = parse::<TokenId>("token", token)?;
        let case = Options::new(options, &[])?.case()?;
        self.launch(header, Deed::on(Object::Token(token), case), Sealed::default(), |_| {
            Ok(request(token))
        })
        .await
    }

    /// No codes: the clock is read over NFC.
    async fn read_clock(&self, header: &Header<'_>, token: &str, options: Dict) -> Result<Accepted, BusError> {
        let token = parse::<TokenId>("token", token)?;
        let mut given = Options::new(options, &[key::BEYOND_BOUND, key::UNSYNCHRONISED, key::DEVICE])?;
        let device = given.device()?;
        let allowances = Allowances {
            preview: false,
            beyond_bound: given.flag(key::BEYOND_BOUND)?,
            unsynchronised: given.flag(key::UNSYNCHRONISED)?,
        };
        let deed = Deed::on(Object::Token(token), given.case()?)
            .with(key::BEYOND_BOUND, allowances.beyond_bound)
            .with(key::UNSYNCHRONISED, allowances.unsynchronised);
        self.launch(header, deed, Sealed::default(), move |_| {
            Ok(Request::ReadClock {
                token,
                device,
                allowances,
            })
        })
        .await
    }

    /// Several codes: to learn from, or to say what would be learned.
    async fn resync_or_preview(
        &self,
        header: &Header<'_>,
        token: &str,
        codes: Vec<String>,
        options: Dict,
        preview: bool,
    ) -> Result<Accepted, BusError> {
        let token = parse::<TokenId>("token", token)?;
        let codes = self::codes(codes)?;
        let mut given = Options::new(options, &[key::BEYOND_BOUND, key::UNSYNCHRONISED])?;
        let allowances = Allowances {
            preview,
            beyond_bound: given.flag(key::BEYOND_BOUND)?,
            unsynchronised: given.flag(key::UNSYNCHRONISED)?,
        };
        let case = given.case()?;
        let deed = Deed::on(Object::Token(token), case)
            .with(key::BEYOND_BOUND, allowances.beyond_bound)
            .with(key::UNSYNCHRONISED, allowances.unsynchronised);
        self.launch(header, deed, Sealed::default(), move |_| {
            Ok(Request::Resync {
                token,
                codes,
                allowances,
            })
        })
        .await
    }
}

/// Members of a filter.
const FILTERS: &[&str] = &["kind", "state", "subject", "serial", "maker", "model", "batch"];

/// Which tokens are meant.
fn filter(given: &mut Options) -> Result<Filter, BusError> {
    Ok(Filter {
        kind: given.name("kind")?,
        state: given.name("state")?,
        subject: given.text("subject", TextRule::SUBJECT)?,
        serial: given.text("serial", TextRule::SERIAL)?,
        maker: given.text("maker", TextRule::MODEL)?,
        model: given.text("model", TextRule::MODEL)?,
        batch: given.text("batch", TextRule::LABEL)?,
        body: None,
        alive: false,
    })
}

/// What is demanded of encrypted seeds.
fn integrity(name: Option<&str>) -> Result<Integrity, BusError> {
    match name {
        None | Some("strict") => Ok(Integrity::Strict),
        Some("lax") => Ok(Integrity::Lax),
        Some(_) => Err(BusError::invalid(format!(
            "option “{}” must be strict or lax",
            key::INTEGRITY
        ))),
    }
}

/// The format of a seed file by its name or by a column map; none when it is to be detected.
fn seed_format(name: Option<String>, map: Option<String>) -> Result<Option<Format>, BusError> {
    let unknown = |error: SeedFileError| BusError::invalid(error.to_string());
    match (name, map) {
        (Some(_), Some(_)) => Err(BusError::invalid(format!(
            "“{}” says what the format is: leave “{}” out",
            key::MAP,
            key::FORMAT
        ))),
        (Some(name), None) => name.parse().map(Some).map_err(unknown),
        (None, Some(map)) => Format::by_map(&map).map(Some).map_err(unknown),
        (None, None) => Ok(None),
    }
}

/// Admits, takes a place, reads the secrets, starts the verb and answers with its operation's path: in this order, so that
/// those who may not make nothing happen.
pub(super) async fn launch(
    desk: &Desk,
    header: &Header<'_>,
    deed: Deed,
    sealed: Sealed,
    request: impl FnOnce(Opened) -> Result<Request, BusError> + Send,
) -> Result<Accepted, BusError> {
    let grant = desk.guard.admit(header, deed).await?;
    desk.require_ready()?;
    let slot = desk.operations.reserve(header, &grant).await?;
    let opened = sealed.open(SecretReader::start(&desk.file_reads)).await?;
    let operation = Arc::clone(&desk.verbs).start(grant, request(opened)?)?;
    desk.operations.show(operation, slot).await
}

/// A cursor: empty means the beginning.
fn cursor(cursor: String) -> Result<Option<String>, BusError> {
    let cursor = TextRule::CURSOR.check("cursor", cursor)?;
    Ok(Some(cursor).filter(|cursor| !cursor.is_empty()))
}

#[interface(name = "org.claviger.Tokens1")]
impl Tokens {
    /// One token. [inspect]
    /// token: id, kind, state, reality, model, maker, batch, subject, serial, label (s each), revoke-reason (s, once revoked),
    /// offset-ms (x), watermark (t: last used time step or counter), sign-count (u), failures (u), last-seen-ms, created-ms,
    /// updated-ms, valid-from-ms, valid-until-ms (x), rp-id, credential-id, aaguid, oath-name, algorithm (s), digits (u),
    /// factor (s: time, event), period-s (u), clock-wipes-seed (b), count (u) as far as they apply.
    /// Errors: UnknownToken.
    #[zbus(out_args("record"))]
    async fn get(&self, token: &str, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let id = parse::<TokenId>("token", token)?;
        let case = Options::new(options, &[])?.case()?;
        self.desk
            .guard
            .admit(&header, Deed::on(Object::Token(id), case))
            .await?;
        match self.desk.verbs.ledger().token(id).await? {
            Some(token) => Ok(record::token(&token)),
            None => Err(crate::lifecycle::Refusal::UnknownToken.into()),
        }
    }

    /// Tokens by filter (kind, state, subject, serial, maker, model, batch: s each, all optional), at most `limit` (1 to 1000)
    /// in order of id. `cursor` is empty at first, then what came back as `next`; `next` is empty at the end. [inspect]
    #[zbus(out_args("records", "next"))]
    async fn find(
        &self,
        filter: Dict,
        cursor: String,
        limit: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Rows<TokenRecord>, String), BusError> {
        let filter = self::filter(&mut Options::filter(filter, FILTERS)?)?;
        let cursor = self::cursor(cursor)?;
        let limit = self::limit(limit)?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, None)).await?;
        let page = self.desk.verbs.ledger().find(&filter, cursor.as_deref(), limit).await?;
        Ok((Rows::new(page.items, record::token), page.next.unwrap_or_default()))
    }

    /// What is still owed to devices of revoked tokens, open ones first to last. [inspect]
    /// Each: id, token, duty, reality (s), created-ms (x), device (o, when the device is plugged in now).
    #[zbus(out_args("obligations", "next"))]
    async fn obligations(
        &self,
        cursor: String,
        limit: u32,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(Vec<Dict>, String), BusError> {
        let cursor = self::cursor(cursor)?;
        let limit = self::limit(limit)?;
        let case = Options::new(options, &[])?.case()?;
        self.desk.guard.admit(&header, Deed::on(Object::Whole, case)).await?;
        let ledger = self.desk.verbs.ledger();
        let open = ObligationFilter {
            open: true,
            ..ObligationFilter::default()
        };
        let page = ledger.obligations(open, cursor.as_deref(), limit).await?;
        let told = page
            .items
            .iter()
            .map(|item| record::obligation(item, self.desk.verbs.device_of(item.id)))
            .collect();
        Ok((told, page.next.unwrap_or_default()))
    }

    /// Registers a FIDO2 key: getInfo, PIN set (when the key has none) or verified, makeCredential, then an assertion; only
    /// then is the token active. [register]
    /// pin: descriptor. options: label (s), serial (s, when the key does not tell it), rp-id (s), user-name (s),
    /// discoverable (b, default true when the key can), case (s).
    /// Details on success: token (s), sign-count (u), pin-set (b).
    #[zbus(out_args("operation"))]
    async fn register_fido2(
        &self,
        device: ObjectPath<'_>,
        subject: String,
        pin: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let device = device_path("device", &device)?;
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let known = [key::LABEL, key::SERIAL, key::RP_ID, key::USER_NAME, key::DISCOVERABLE];
        let mut given = Options::new(options, &known)?;
        let options = Fido2Options {
            label: given.text(key::LABEL, TextRule::LABEL)?,
            serial: given.text(key::SERIAL, TextRule::SERIAL)?,
            rp_id: given.text(key::RP_ID, TextRule::RP_ID)?,
            user_name: given.text(key::USER_NAME, TextRule::USER_NAME)?,
            discoverable: given.choice(key::DISCOVERABLE)?,
        };
        let case = given.case()?;
        let sealed = Sealed {
            pin: Some(pin.into()),
            ..Sealed::default()
        };
        self.launch(&header, Deed::on(Object::Device(device), case), sealed, move |opened| {
            Ok(Request::RegisterFido2 {
                device,
                subject,
                pin: required(opened.pin)?,
                options,
            })
        })
        .await
    }

    /// Registers an OATH card: a seed is made here, put on the card, and computed back from it. [register]
    /// options: label, serial (s), algorithm (s: SHA1, SHA256, SHA512), digits (u: 6 to 8), period-s (u), touch (b),
    /// only-increasing (b: the card takes increasing challenges only), event (b: a credential that counts, RFC 4226),
    /// password (h), case (s). Details on success: token (s), oath-name (s).
    #[zbus(out_args("operation"))]
    async fn register_oath_card(
        &self,
        device: ObjectPath<'_>,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let device = device_path("device", &device)?;
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let known = [
            key::LABEL,
            key::SERIAL,
            key::ALGORITHM,
            key::DIGITS,
            key::PERIOD_S,
            key::TOUCH,
            key::ONLY_INCREASING,
            key::EVENT,
            key::PASSWORD,
        ];
        let mut given = Options::new(options, &known)?;
        let mut options = OathOptions {
            label: given.text(key::LABEL, TextRule::LABEL)?,
            serial: given.text(key::SERIAL, TextRule::SERIAL)?,
            algorithm: given.name(key::ALGORITHM)?,
            digits: given.digits()?,
            period_s: given.period()?,
            touch: given.flag(key::TOUCH)?,
            only_increasing: given.flag(key::ONLY_INCREASING)?,
            event: given.flag(key::EVENT)?,
            password: None,
        };
        let case = given.case()?;
        let sealed = Sealed {
            password: given.descriptor(key::PASSWORD)?,
            ..Sealed::default()
        };
        self.launch(&header, Deed::on(Object::Device(device), case), sealed, move |opened| {
            options.password = opened.password;
            Ok(Request::RegisterOathCard {
                device,
                subject,
                options,
            })
        })
        .await
    }

    /// Registers a display fob from serial and seed with two codes read off the display one after the other. Without codes (the
    /// fob is not at hand) it is pending, and becomes active by a Resync with its first two. [register]
    /// seed: descriptor. options: encoding (s: base32 (default), hex, raw), label (s), algorithm (s), digits (u), period-s (u),
    /// model, maker (s), factor (s: time (default), event), counter (t: of the next code of an event fob, default 0), case (s).
    /// Details on success: token (s), and offset-s (x) or counter (t: of the last code).
    /// Errors: Duplicate, CodeRejected.
    #[zbus(out_args("operation"))]
    async fn register_fob(
        &self,
        subject: String,
        serial: String,
        seed: zbus::OwnedFd,
        codes: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let serial = TextRule::SERIAL.check("serial", serial)?;
        let codes = if codes.is_empty() { codes } else { self::codes(codes)? };
        let known = [
            key::ENCODING,
            key::LABEL,
            key::ALGORITHM,
            key::DIGITS,
            key::PERIOD_S,
            key::MODEL,
            key::MAKER,
            key::FACTOR,
            key::COUNTER,
        ];
        let mut given = Options::new(options, &known)?;
        let encoding = encoding(given.string(key::ENCODING)?)?;
        let options = FobOptions {
            label: given.text(key::LABEL, TextRule::LABEL)?,
            model: given.text(key::MODEL, TextRule::MODEL)?,
            algorithm: given.name(key::ALGORITHM)?,
            digits: given.digits()?,
            period_s: given.period()?,
            maker: given.text(key::MAKER, TextRule::MODEL)?,
            factor: given.name(key::FACTOR)?,
            counter: given.counter()?,
        };
        let case = given.case()?;
        let sealed = Sealed {
            seed: Some((seed.into(), encoding)),
            ..Sealed::default()
        };
        self.launch(&header, Deed::on(Object::NewFob, case), sealed, move |opened| {
            Ok(Request::RegisterFob {
                subject,
                serial,
                seed: required(opened.seed)?,
                codes,
                options,
            })
        })
        .await
    }

    /// Registers a software authenticator: the seed is made here and written, as an `otpauth` URI, to the descriptor (writing end
    /// of a pipe, memfd or file) before anything is recorded. The app is pending until a Test with its first code. [register]
    /// options: label, issuer, account (s), algorithm (s), digits (u), period-s (u), case (s). Details on success: token (s).
    /// Errors: SecretUnwritable.
    #[zbus(out_args("operation"))]
    async fn register_app(
        &self,
        subject: String,
        pairing: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let known = [
            key::LABEL,
            key::ISSUER,
            key::ACCOUNT,
            key::ALGORITHM,
            key::DIGITS,
            key::PERIOD_S,
        ];
        let mut given = Options::new(options, &known)?;
        let options = AppOptions {
            label: given.text(key::LABEL, TextRule::LABEL)?,
            issuer: given.text(key::ISSUER, TextRule::MODEL)?,
            account: given.text(key::ACCOUNT, TextRule::SUBJECT)?,
            algorithm: given.name(key::ALGORITHM)?,
            digits: given.digits()?,
            period_s: given.period()?,
        };
        let deed = Deed::on(Object::NewFob, given.case()?);
        self.launch(&header, deed, Sealed::default(), |_| {
            let pairing = secret_out::into(pairing.into(), &self.desk.file_reads);
            Ok(Request::RegisterApp {
                subject,
                pairing,
                options,
            })
        })
        .await
    }

    /// Registers a display fob whose clock and seed are written over NFC (Token2 family): a seed is made here, or taken from the
    /// descriptor, and written together with the time; the clock is read back. The fob is pending until it has shown a code, to Test or
    /// Resync. [register]
    /// options: seed (h), encoding (s: base32 (default), hex, raw), label (s), algorithm (s: SHA1, SHA256), period-s (u: 30 or 60),
    /// unsynchronised (b: set the clock although the host's is not synchronised), case (s). Details on success: token (s), offset-s (x).
    /// Errors: Duplicate, KeyRefused (the fob does not take its maker's published key; it is tried once).
    #[zbus(out_args("operation"))]
    async fn register_nfc_fob(
        &self,
        device: ObjectPath<'_>,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let device = device_path("device", &device)?;
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let known = [
            key::SEED,
            key::ENCODING,
            key::LABEL,
            key::ALGORITHM,
            key::PERIOD_S,
            key::UNSYNCHRONISED,
        ];
        let mut given = Options::new(options, &known)?;
        let encoding = encoding(given.string(key::ENCODING)?)?;
        let options = NfcFobOptions {
            label: given.text(key::LABEL, TextRule::LABEL)?,
            algorithm: given.name(key::ALGORITHM)?,
            period_s: given.period()?,
            unsynchronised: given.flag(key::UNSYNCHRONISED)?,
        };
        let case = given.case()?;
        let sealed = Sealed {
            seed: given.descriptor(key::SEED)?.map(|fd| (fd, encoding)),
            ..Sealed::default()
        };
        let deed = Deed::on(Object::Device(device), case).with(key::UNSYNCHRONISED, options.unsynchronised);
        self.launch(&header, deed, sealed, move |opened| {
            Ok(Request::RegisterNfcFob {
                device,
                subject,
                seed: opened.seed,
                options,
            })
        })
        .await
    }

    /// Makes a sheet of recovery codes, each good once, and writes them, a line each, to the descriptor (writing end of a pipe, memfd
    /// or file) before anything is recorded. The sheets that the person had are revoked with that. [register]
    /// options: count (u: 1 to 32, default 10), case (s). Details on success: token (s).
    /// Errors: SecretUnwritable.
    #[zbus(out_args("operation"))]
    async fn register_recovery_codes(
        &self,
        subject: String,
        codes: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        let mut given = Options::new(options, &[key::COUNT])?;
        let count = given.number(key::COUNT, 1..=32)?;
        let count = count.and_then(|count| u16::try_from(count).ok());
        let deed = Deed::on(Object::NewFob, given.case()?);
        self.launch(&header, deed, Sealed::default(), |_| {
            let sheet = secret_out::into(codes.into(), &self.desk.file_reads);
            Ok(Request::RegisterRecoveryCodes { subject, sheet, count })
        })
        .await
    }

    /// Takes a file of seeds into the ledger: all that can be read of it in one transaction, or nothing. A token that the file gives
    /// to a person is pending, the others are in the inventory. The file (pipe, memfd or file; 64 MiB, 10 s) is read after admission.
    /// [register]
    /// options: format (s: pskc, otpauth, entra, yubico, privacyidea, privacyidea2, linotp, multiotp; detected when it is clear),
    /// map (s: which column holds what, instead of a format), passphrase (h), key (h: a pre-shared key, its bytes), integrity (s: strict
    /// (default), lax: seeds encrypted without a MAC are taken), batch (s: name of the delivery, by default the day), dry-run (b: look and
    /// write nothing), left (h: descriptor for the file of what was left, when something was, in the format it came in), case (s).
    /// Details on success: format (s), imported, rejected (t), rejected-lines (as: at most 100, each with its line and why),
    /// protection (s: how the seeds were protected on their way).
    /// Errors: FormatUnclear, KeyRequired, IntegrityFailed, SeedFileInvalid, Duplicate, SecretUnreadable, SecretUnwritable.
    #[zbus(out_args("operation"))]
    async fn import(
        &self,
        file: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let known = [
            key::FORMAT,
            key::MAP,
            key::PASSPHRASE,
            key::KEY,
            key::INTEGRITY,
            key::BATCH,
            key::DRY_RUN,
            key::LEFT,
        ];
        let mut given = Options::new(options, &known)?;
        let integrity = integrity(given.string(key::INTEGRITY)?.as_deref())?;
        let mut options = ImportOptions {
            format: seed_format(given.string(key::FORMAT)?, given.string(key::MAP)?)?,
            integrity,
            batch: given.text(key::BATCH, TextRule::LABEL)?,
            dry_run: given.flag(key::DRY_RUN)?,
            ..ImportOptions::default()
        };
        let left = given.descriptor(key::LEFT)?;
        let sealed = Sealed {
            file: Some(file.into()),
            passphrase: given.descriptor(key::PASSPHRASE)?,
            key: given.descriptor(key::KEY)?,
            ..Sealed::default()
        };
        let deed = Deed::on(Object::Whole, given.case()?)
            .with(key::IMPORT, true)
            .with("lax", integrity == Integrity::Lax);
        self.launch(&header, deed, sealed, |opened| {
            options.unlock = Unlock {
                key: opened.key,
                passphrase: opened.passphrase,
            };
            options.left = left.map(|fd| secret_out::into(fd, &self.desk.file_reads));
            Ok(Request::Import {
                file: required(opened.file)?,
                options: Box::new(options),
            })
        })
        .await
    }

    /// Gives a token of the inventory to a person. It is pending then, and becomes active by a Resync with its first two codes.
    /// [register]
    /// options: case (s). Details on success: token (s). Errors: WrongState, Expired.
    #[zbus(out_args("operation"))]
    async fn assign(
        &self,
        token: &str,
        subject: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let subject = TextRule::SUBJECT.check("subject", subject)?;
        self.simple(&header, token, options, |token| Request::Assign { token, subject })
            .await
    }

    /// Writes the seeds of live display fobs and apps, as many as the filter finds (as in Find), to a descriptor (writing end of a
    /// pipe that is being read, memfd or empty file). Each is journalled before it goes. [configure]
    /// format: pskc (RFC 6030, encrypted to the passphrase), entra (values), users-oath (active tokens alone, for pam_oath).
    /// options: kind, state, subject, serial, maker, model, batch (s), passphrase (h), case (s).
    /// Details on success: exported, left-out (t: tokens found that the format has no words for). Errors: SecretUnwritable.
    #[zbus(out_args("operation"))]
    async fn export(
        &self,
        format: &str,
        into: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let format = parse::<ExportFormat>("format", format)?;
        let mut known = FILTERS.to_vec();
        known.push(key::PASSPHRASE);
        let mut given = Options::new(options, &known)?;
        let filter = self::filter(&mut given)?;
        let deed = Deed::on(Object::Whole, given.case()?).with(key::EXPORT, true);
        // Read as passwords are.
        let sealed = Sealed {
            password: given.descriptor(key::PASSPHRASE)?,
            ..Sealed::default()
        };
        self.launch(&header, deed, sealed, |opened| {
            Ok(Request::Export {
                format,
                filter: Box::new(filter),
                passphrase: opened.password,
                into: secret_out::into(into.into(), &self.desk.file_reads),
            })
        })
        .await
    }

    /// Tests an active (or pending) token. [test]
    /// options: code (s, fob), pin (h, FIDO2 key that wants one), device (o, when more than one could be meant), password (h,
    /// protected card), case (s). A FIDO2 key and a card are found among the devices plugged in.
    /// Details on success: token (s), and sign-count (u) or offset-s (x). A failed test is outcome `refused` with its error.
    /// Errors of the dates in its papers, before any code is looked at: NotYetValid, Expired.
    #[zbus(out_args("operation"))]
    async fn test(&self, token: &str, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        let token = parse::<TokenId>("token", token)?;
        let mut given = Options::new(options, &[key::CODE, key::PIN, key::DEVICE, key::PASSWORD])?;
        let code = given.string(key::CODE)?.map(code).transpose()?;
        let device = given.device()?;
        let case = given.case()?;
        let sealed = Sealed {
            pin: given.descriptor(key::PIN)?,
            password: given.descriptor(key::PASSWORD)?,
            ..Sealed::default()
        };
        self.launch(&header, Deed::on(Object::Token(token), case), sealed, move |opened| {
            let at = opened.presence(device);
            Ok(Request::Test { token, code, at })
        })
        .await
    }

    /// Corrects what is believed about where a token's clock or counter stands, from two to four consecutive codes, searched
    /// jointly: two where a clock may well stand, three where it hardly does. Codes that were previewed count as given then.
    /// So many tries in vain within 24 hours as the configuration allows. Without codes the clock of a fob that has such an
    /// interface is read over NFC. [resync]
    /// options: beyond-bound (b: accept an offset no clock drifts to), unsynchronised (b: measure although the host clock is
    /// not synchronised; journalled), device (o, to read the clock of, when more than one could be meant), case (s).
    /// Details on success: token (s); of a clock shift-s, offset-s, offset-before-s (x); of a counter skipped (t).
    /// Errors: CodeRejected and OffsetImplausible, with details advice (as: names), advice-desk and advice-subject (as:
    /// sentences, for the help desk and for the person) where something was found out; ClockUnsynchronised, TooManyAttempts,
    /// NotYetValid, Expired (by the dates in the token's papers; no option lifts them).
    #[zbus(out_args("operation"))]
    async fn resync(
        &self,
        token: &str,
        codes: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        if codes.is_empty() {
            return self.read_clock(&header, token, options).await;
        }
        self.resync_or_preview(&header, token, codes, options, false).await
    }

    /// Says what a Resync with these codes would change, and changes nothing. In vain it counts as one in vain. [resync]
    /// options, details and errors: as Resync.
    #[zbus(out_args("operation"))]
    async fn preview_resync(
        &self,
        token: &str,
        codes: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.resync_or_preview(&header, token, codes, options, true).await
    }

    /// Takes back what the last resync taught, unless something was learned since: the offset before it counts again, and used
    /// codes stay used. options: case (s). [resync]
    /// Details on success: token (s), shift-s, offset-s (x). Errors: NothingToUndo.
    #[zbus(out_args("operation"))]
    async fn undo_resync(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.simple(&header, token, options, Request::UndoResync).await
    }

    /// Sets the clock of a fob over NFC to the host's. Most models forget their seed over it: unless the model is known to keep it, the
    /// option reseed must be said, and then the fob gets a new seed in the same operation and is pending until it has shown a code.
    /// [resync]
    /// options: reseed (b), device (o, when more than one could be meant), unsynchronised (b), case (s).
    /// Details on success: token (s), offset-s, shift-s (x). Errors: ClockWipesSeed, KeyRefused, ClockUnsynchronised.
    #[zbus(out_args("operation"))]
    async fn set_clock(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let token = parse::<TokenId>("token", token)?;
        let mut given = Options::new(options, &[key::RESEED, key::DEVICE, key::UNSYNCHRONISED])?;
        let device = given.device()?;
        let reseed = given.flag(key::RESEED)?;
        let unsynchronised = given.flag(key::UNSYNCHRONISED)?;
        let case = given.case()?;
        let deed = Deed::on(Object::Token(token), case)
            .with(key::RESEED, reseed)
            .with(key::UNSYNCHRONISED, unsynchronised);
        self.launch(&header, deed, Sealed::default(), move |_| {
            Ok(Request::SetClock {
                token,
                device,
                reseed,
                unsynchronised,
            })
        })
        .await
    }

    /// Takes an active token out of use for a while. options: case (s). [suspend]
    #[zbus(out_args("operation"))]
    async fn suspend(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.simple(&header, token, options, Request::Suspend).await
    }

    /// Notes that a token is lost; it stops being accepted at once. options: case (s). [suspend]
    #[zbus(out_args("operation"))]
    async fn report_lost(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.simple(&header, token, options, Request::Lost).await
    }

    /// Puts a suspended or lost token back in use. options: case (s). [suspend]
    #[zbus(out_args("operation"))]
    async fn resume(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.simple(&header, token, options, Request::Resume).await
    }

    /// Revokes a token, for good. The binding dies first and durably; then, if the device is here, our credential is deleted
    /// from it; else that becomes an obligation. [revoke]
    /// reason: lost, damaged, compromised, replaced, leaver, abandoned, other. options: device (o), pin (h), password (h),
    /// reset (b: authenticatorReset instead, which takes every other passkey on the key with it), absent (b: do not look for
    /// the device), case (s).
    /// Details: token (s), obligation (s, when something is left to do).
    #[zbus(out_args("operation"))]
    async fn revoke(
        &self,
        token: &str,
        reason: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let token = parse::<TokenId>("token", token)?;
        let reason = parse::<RevokeReason>("reason", reason)?;
        let known = [key::DEVICE, key::PIN, key::PASSWORD, key::RESET, key::ABSENT];
        let mut given = Options::new(options, &known)?;
        let device = given.device()?;
        let reset = given.flag(key::RESET)?;
        let absent = given.flag(key::ABSENT)?;
        if absent && (reset || device.is_some()) {
            return Err(BusError::invalid(
                "option “absent” says not to look for the device, so it goes neither with “device” nor with “reset”",
            ));
        }
        let case = given.case()?;
        let sealed = Sealed {
            pin: given.descriptor(key::PIN)?,
            password: given.descriptor(key::PASSWORD)?,
            ..Sealed::default()
        };
        let deed = Deed::on(Object::Token(token), case).with(key::RESET, reset);
        self.launch(&header, deed, sealed, move |opened| {
            Ok(Request::Revoke {
                token,
                reason,
                at: opened.presence(device),
                reset,
                absent,
            })
        })
        .await
    }

    /// Settles an obligation on the device that is plugged in now, after proof that it is the same one. [revoke]
    /// options: device (o), pin (h), password (h), collected (b: the device was collected and destroyed; a word, for what
    /// cannot prove itself any more), reset (b: needed where a reset is owed), case (s).
    #[zbus(out_args("operation"))]
    async fn discharge(
        &self,
        obligation: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let obligation = parse::<ObligationId>("obligation", obligation)?;
        let mut given = Options::new(
            options,
            &[key::DEVICE, key::PIN, key::PASSWORD, key::COLLECTED, key::RESET],
        )?;
        let device = given.device()?;
        let collected = given.flag(key::COLLECTED)?;
        let reset = given.flag(key::RESET)?;
        let case = given.case()?;
        let sealed = Sealed {
            pin: given.descriptor(key::PIN)?,
            password: given.descriptor(key::PASSWORD)?,
            ..Sealed::default()
        };
        let deed = Deed::on(Object::Obligation(obligation), case)
            .with(key::RESET, reset)
            .with(key::COLLECTED, collected);
        self.launch(&header, deed, sealed, move |opened| {
            Ok(Request::Discharge {
                obligation,
                at: opened.presence(device),
                collected,
                reset,
            })
        })
        .await
    }
}
