use super::*;

const HEX: &str = "3132333435363738393031323334353637383930";
const B32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn event(counter: u64) -> Moving {
    Moving::Event { counter }
}

fn time(period_s: u32) -> Moving {
    Moving::Time {
        period_s,
        drift_steps: 0,
    }
}

/// Reads a file in the format it is detected to have.
fn detected(file: &str, format: CsvFormat) -> Delivery {
    assert_eq!(detect(file.as_bytes()), Some(format), "{file}");
    deliver(file.as_bytes(), format).expect("read")
}

#[test]
fn entra() {
    let file = format!(
        "upn,serial number,secret key,time interval,manufacturer,model\r\njane@example.com,1234567,{B32},60,Contoso,HardwareKey\r\n,1234568,1234567abcdef1234567abcdef,30,Contoso,HardwareKey\r\n"
    );
    let delivery = detected(&file, CsvFormat::Entra);
    let token = &delivery.tokens[0];
    assert_eq!((token.moving, token.line, token.digits), (time(60), 2, 6));
    assert_eq!(token.subject.as_deref(), Some("jane@example.com"));
    assert_eq!(token.serial.as_deref(), Some("1234567"));
    assert_eq!(token.maker.as_deref(), Some("Contoso"));
    assert_eq!(token.model.as_deref(), Some("HardwareKey"));
    assert_eq!(token.seed.expose(), b"12345678901234567890");
    let rejected = &delivery.rejected[0];
    assert_eq!((rejected.line, rejected.serial.as_deref()), (3, Some("1234568")));
    assert!(matches!(rejected.why, Flaw::Seed(_)), "{:?}", rejected.why);
    // Header and rejected row stay.
    let left = Delivery::left(file.as_bytes(), std::slice::from_ref(&token.span));
    let left = std::str::from_utf8(left.expose()).expect("text");
    assert!(
        left.starts_with("upn,") && left.contains("1234568") && !left.contains("jane"),
        "{left}"
    );
    assert_eq!(
        deliver(b"upn,serial number\nx,y\n", CsvFormat::Entra).err(),
        Some(CsvError::Header("secret key".to_owned()))
    );
}

#[test]
fn yubico() {
    let file = format!(
        "LOGGING START,11.12.13 18:50\nOATH-HOTP,11.12.13 18:55,1,cccccccccccb,,{HEX},,,0,0,0,8,0,0,0,0,0,0\nStatic Password,11.12.13 19:08,1,,d5a3d50327dc,0e8e37b0e38b314a56748c030f58d21d,,,0,0,0,0,0,0,0,0,0,0\n"
    );
    let delivery = detected(&file, CsvFormat::Yubico);
    let token = &delivery.tokens[0];
    assert_eq!((token.moving, token.digits, token.line), (event(0), 8, 2));
    assert_eq!(token.serial.as_deref(), Some("cccccccccccb"));
    assert_eq!(delivery.rejected[0].why, Flaw::Type);
    let file = format!(
        "# OATH mode\n508326,,0,{HEX},,2013-12-12T08:41:07,\n508326,cccccccccccc,83cebdfb7b93,a47c5bf9c152202f577be6721c0113af,,2013-12-12T08:43:17,\n"
    );
    let delivery = detected(&file, CsvFormat::Yubico);
    assert_eq!(delivery.tokens[0].serial.as_deref(), Some("508326"));
    assert_eq!(delivery.rejected[0].why, Flaw::Type);
}

#[test]
fn privacyidea_both() {
    let file = format!("F1,{HEX},totp,8,60\nF2,{HEX}\nF3,{HEX},totp\nF4,{HEX},ocra,x\n");
    let delivery = detected(&file, CsvFormat::PrivacyIdea1);
    let moving: Vec<Moving> = delivery.tokens.iter().map(|token| token.moving).collect();
    assert_eq!(moving, [time(60), event(0), time(30)]);
    assert_eq!(delivery.rejected[0].why, Flaw::Type);
    let file = format!(
        "# version: 2\n# user, resolver, realm, serial, seed\njane,ldap,example,F1,{HEX},hotp,6,12\n,,,F2,{HEX},totp,6,30\n"
    );
    let delivery = detected(&file, CsvFormat::PrivacyIdea2);
    assert_eq!(delivery.tokens[0].moving, event(12));
    assert_eq!(delivery.tokens[0].subject.as_deref(), Some("jane"));
    assert_eq!(delivery.tokens[1].subject, None);
}

#[test]
fn what_two_servers_read_differently_is_not_guessed() {
    // privacyIDEA takes the fifth column of a HOTP row for a counter, LinOTP for nothing.
    let file = format!("F1,{HEX},hotp,6,12\n");
    assert_eq!(detect(file.as_bytes()), None);
    let file = format!(
        "F1,{HEX},hotp,6,0,sha256\nF2,{},totp,6,30\n",
        HEX.repeat(2).get(..64).expect("64 digits")
    );
    let delivery = detected(&file, CsvFormat::LinOtp);
    assert_eq!(delivery.tokens[0].algorithm, OathAlgorithm::Sha256);
    assert_eq!(delivery.tokens[1].algorithm, OathAlgorithm::Sha256);
    assert_eq!(detect(b"a,b,c\n1,2,3\n"), None);
    assert_eq!(detect(b""), None);
}

#[test]
fn multiotp() {
    for (delimiter, header) in [
        (";", ""),
        (
            "\t",
            "serial_number\tmanufacturer\talgorithm\tseed\tdigits\tinterval_or_event\n",
        ),
    ] {
        let rows = format!("A1;Feitian;TOTP;{HEX};6;60\nA2;Feitian;HOTP;{HEX};8;3\n").replace(';', delimiter);
        let delivery = detected(&format!("{header}{rows}"), CsvFormat::MultiOtp);
        let read: Vec<_> = delivery
            .tokens
            .iter()
            .map(|token| (token.moving, token.digits))
            .collect();
        assert_eq!(read, [(time(60), 6), (event(3), 8)]);
        assert_eq!(delivery.tokens[0].maker.as_deref(), Some("Feitian"));
    }
}

#[test]
fn a_column_map_reads_anything() {
    let map: ColumnMap =
        "serial=Serie,seed=3,type:=totp,digits:=8,encoding=hex,delimiter=;,valid-until=Ende,algorithm:=SHA-512"
            .parse()
            .expect("a map");
    let file = format!("Serie;x;Same;Ende\n77;;{HEX};2030-01-31T00:00:00Z\n78;;{HEX};sometime\n79\n");
    let delivery = deliver_by(file.as_bytes(), &map).expect("read");
    let token = &delivery.tokens[0];
    assert_eq!((token.digits, token.algorithm), (8, OathAlgorithm::Sha512));
    assert_eq!(
        token.valid_until.map(crate::types::UnixMillis::seconds),
        Some(1_896_048_000)
    );
    let why: Vec<&Flaw> = delivery.rejected.iter().map(|row| &row.why).collect();
    assert_eq!(why, [&Flaw::Date("expiry date"), &Flaw::Columns(1, 3)]);
    for wrong in [
        "serial=1",
        "seed=0",
        "seed=65",
        "seed",
        "colour=1,seed=2",
        "seed=1,seed=2",
        "seed=",
    ] {
        assert!(wrong.parse::<ColumnMap>().is_err(), "{wrong}");
    }
}

#[test]
fn a_quote_that_never_closes_ends_with_the_file() {
    let file = format!("F1,{HEX},totp,6,30\nF2,\"{HEX},totp\nF3,{HEX},totp,6,30\n");
    let delivery = deliver(file.as_bytes(), CsvFormat::PrivacyIdea1).expect("read");
    assert_eq!((delivery.tokens.len(), delivery.rejected.len()), (1, 1));
    assert_eq!(delivery.rejected[0].line, 2);
}

#[test]
fn the_documentations_own_samples() {
    let folder = std::env::var_os("CLAVIGER_SHARED_DATA")
        .map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
            std::path::PathBuf::from,
        )
        .join("csv");
    let Ok(sample) = std::fs::read(folder.join("entra-sample.csv")) else {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: no test data at {} (CLAVIGER_SHARED_DATA)\n", folder.display()),
        );
        return;
    };
    let delivery = deliver(&sample, CsvFormat::Entra).expect("read");
    assert!(delivery.tokens.is_empty());
    assert_eq!(delivery.rejected[0].line, 2);
    assert!(matches!(delivery.rejected[0].why, Flaw::Seed(_)));
    let sample = std::fs::read(folder.join("entra-sample-b32valid.csv")).expect("the other sample");
    let delivery = deliver(&sample, CsvFormat::Entra).expect("read");
    assert_eq!(delivery.tokens[0].moving, time(60));
    assert_eq!(delivery.tokens[0].serial.as_deref(), Some("1234567"));
}
