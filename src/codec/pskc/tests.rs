use data_encoding::{BASE64, HEXLOWER};

use super::*;
use crate::codec::delivery::KeyOrigin;

const SEED: &[u8] = b"12345678901234567890";

fn with_key(hex: &str) -> Unlock {
    Unlock {
        key: Some(Secret::new(HEXLOWER.decode(hex.as_bytes()).expect("hex"))),
        passphrase: None,
    }
}

fn with_passphrase(text: &str) -> Unlock {
    Unlock {
        key: None,
        passphrase: Some(Secret::new(text.as_bytes().to_vec())),
    }
}

/// A container around packages.
fn container(head: &str, packages: &str) -> String {
    format!(
        r#"<KeyContainer Version="1.0" xmlns="urn:ietf:params:xml:ns:keyprov:pskc" xmlns:x="http://www.w3.org/2001/04/xmlenc#">{head}{packages}</KeyContainer>"#
    )
}

/// A package with a plain seed.
fn plain(kind: &str, data: &str, rest: &str) -> String {
    format!(
        r#"<KeyPackage><DeviceInfo><Manufacturer>oath.AA</Manufacturer><SerialNo>S1</SerialNo></DeviceInfo><Key Id="1" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:{kind}"><Data><Secret><PlainValue>{}</PlainValue></Secret>{data}</Data>{rest}</Key></KeyPackage>"#,
        BASE64.encode(SEED)
    )
}

fn only(file: &str) -> Result<Delivered, Flaw> {
    let delivery = deliver(file.as_bytes(), &Unlock::default(), Integrity::Strict).expect("a container");
    match (delivery.tokens.into_iter().next(), delivery.rejected.into_iter().next()) {
        (Some(token), None) => Ok(token),
        (None, Some(rejected)) => Err(rejected.why),
        _ => panic!("one package, one answer"),
    }
}

fn refused(file: &[u8], unlock: &Unlock) -> PskcError {
    read(file, unlock, Integrity::Strict).err().expect("refused")
}

#[test]
fn plain_values_and_what_goes_with_them() {
    let token = only(&container(
        "",
        &plain("hotp", "<Counter><PlainValue>42</PlainValue></Counter>", ""),
    ))
    .expect("a token");
    assert_eq!(token.moving, Moving::Event { counter: 42 });
    assert_eq!(token.seed.expose(), SEED);
    assert_eq!(
        (token.maker.as_deref(), token.serial.as_deref()),
        (Some("oath.AA"), Some("S1"))
    );
    let time = "<Time><PlainValue>0</PlainValue></Time><TimeInterval><PlainValue>60</PlainValue></TimeInterval><TimeDrift><PlainValue>-4</PlainValue></TimeDrift>";
    let rest = r#"<AlgorithmParameters><Suite>HMAC-SHA256</Suite><ResponseFormat Length="8" Encoding="DECIMAL"/></AlgorithmParameters><UserId>UID=jane</UserId><Policy><StartDate>2026-01-01T00:00:00Z</StartDate><ExpiryDate>2026-02-01T01:00:00+01:00</ExpiryDate><KeyUsage>OTP</KeyUsage></Policy>"#;
    let token = only(&container("", &plain("totp", time, rest))).expect("a token");
    let moving = Moving::Time {
        period_s: 60,
        drift_steps: -4,
    };
    assert_eq!(
        (token.moving, token.algorithm, token.digits),
        (moving, OathAlgorithm::Sha256, 8)
    );
    assert_eq!(token.subject.as_deref(), Some("UID=jane"));
    assert_eq!(token.valid_from.map(|at| at.0), Some(1_767_225_600_000));
    assert_eq!(token.valid_until.map(|at| at.0), Some(1_769_904_000_000));
}

#[test]
fn a_policy_that_cannot_be_kept_makes_a_key_unusable() {
    for policy in [
        "<Colour>blue</Colour>",
        r#"<StartDate xmlns="urn:example:other">2026-01-01T00:00:00Z</StartDate>"#,
        "<KeyUsage>CR</KeyUsage>",
        "<KeyUsage>Dance</KeyUsage>",
        "<NumberOfTransactions>3</NumberOfTransactions>",
        r#"<PINPolicy PINUsageMode="Append"/>"#,
        r#"<PINPolicy PINUsageMode="Telepathic"/>"#,
        r#"<PINPolicy Shape="round"/>"#,
    ] {
        let file = container("", &plain("hotp", "", &format!("<Policy>{policy}</Policy>")));
        assert!(matches!(only(&file), Err(Flaw::Policy(_))), "{policy}");
    }
    let kept = r#"<Policy><PINPolicy MinLength="4" MaxLength="4" PINKeyId="9" PINEncoding="DECIMAL" PINUsageMode="Local"/><KeyUsage>OTP</KeyUsage></Policy>"#;
    assert!(only(&container("", &plain("hotp", "", kept))).is_ok());
}

#[test]
fn what_is_wrong_with_one_package_rejects_that_one() {
    let flaw =
        |kind: &str, data: &str, rest: &str| only(&container("", &plain(kind, data, rest))).err().expect("rejected");
    assert_eq!(flaw("pin", "", ""), Flaw::Type);
    assert_eq!(
        flaw("hotp", "<Counter><PlainValue>x</PlainValue></Counter>", ""),
        Flaw::Number("counter")
    );
    assert_eq!(
        flaw("hotp", "<Counter><PlainValue>-1</PlainValue></Counter>", ""),
        Flaw::Number("counter")
    );
    assert_eq!(
        flaw("totp", "<TimeInterval><PlainValue>0</PlainValue></TimeInterval>", ""),
        Flaw::Period(0)
    );
    let format = |format: &str| format!("<AlgorithmParameters>{format}</AlgorithmParameters>");
    assert_eq!(
        flaw(
            "hotp",
            "",
            &format(r#"<ResponseFormat Encoding="ALPHANUMERIC" Length="6"/>"#)
        ),
        Flaw::Format
    );
    assert_eq!(
        flaw(
            "hotp",
            "",
            &format(r#"<ResponseFormat Encoding="DECIMAL" Length="6" CheckDigits="true"/>"#)
        ),
        Flaw::Format
    );
    assert_eq!(flaw("hotp", "", &format("<Suite>MD5</Suite>")), Flaw::Algorithm);
    let file = container(
        "",
        "<KeyPackage/>\n<KeyPackage><Key Id='1' Algorithm='urn:ietf:params:xml:ns:keyprov:pskc:hotp'/></KeyPackage>",
    );
    let delivery = deliver(file.as_bytes(), &Unlock::default(), Integrity::Strict).expect("read");
    let why: Vec<_> = delivery
        .rejected
        .iter()
        .map(|rejected| (rejected.line, rejected.why.clone()))
        .collect();
    assert_eq!(why, [(1, Flaw::Missing("key")), (2, Flaw::Missing("seed"))]);
}

#[test]
fn what_was_taken_over_is_cut_out_and_the_rest_is_still_a_container() {
    let good = plain("hotp", "", "");
    let bad = plain("pin", "", "");
    let file = format!("\u{feff}{}", container("", &format!("{good}\n{bad}\n{good}\n")));
    let delivery = deliver(file.as_bytes(), &Unlock::default(), Integrity::Strict).expect("read");
    assert_eq!((delivery.tokens.len(), delivery.rejected.len()), (2, 1));
    let done: Vec<_> = delivery.tokens.iter().map(|token| token.span.clone()).collect();
    let left = Delivery::left(file.as_bytes(), &done);
    let again = deliver(left.expose(), &Unlock::default(), Integrity::Strict).expect("read");
    assert_eq!((again.tokens.len(), again.rejected.len()), (0, 1));
}

/// AES Key Wrap, RFC 3394 section 4.6: 256 bits under 256 bits. Section 4.1: 128 under 128.
#[test]
fn keys_are_unwrapped() {
    let file = |cipher: &str, hex: &str| {
        let value = BASE64.encode(&HEXLOWER.decode(hex.to_lowercase().as_bytes()).expect("hex"));
        container(
            "",
            &format!(
                r#"<KeyPackage><Key Id="1" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp"><Data><Secret><EncryptedValue><x:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#{cipher}"/><x:CipherData><x:CipherValue>{value}</x:CipherValue></x:CipherData></EncryptedValue></Secret></Data></Key></KeyPackage>"#
            ),
        )
    };
    let seed = |file: &str, key: &str| {
        let container = read(file.as_bytes(), &with_key(key), Integrity::Strict).expect("read");
        let key = container.keys.into_iter().next().expect("one").key.expect("a key");
        HEXLOWER.encode(key.secret.expect("a seed").expose())
    };
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let wrapped = "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21";
    assert_eq!(
        seed(&file("kw-aes256", wrapped), key),
        "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"
    );
    let wrapped = "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5";
    assert_eq!(
        seed(&file("kw-aes128", wrapped), &key[..32]),
        "00112233445566778899aabbccddeeff"
    );
    // RFC 5649 section 6: 20 octets under 192 bits.
    let wrapped = "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a";
    assert_eq!(
        seed(
            &file("kw-aes-192-pad", wrapped),
            "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"
        ),
        "c37b7e6492584340bed12207808941155068f738"
    );
    // One bit of it turned.
    let turned = "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE4";
    assert_eq!(
        refused(file("kw-aes128", turned).as_bytes(), &with_key(&key[..32])),
        PskcError::Decrypt(1)
    );
    assert!(matches!(
        refused(file("kw-aes256", turned).as_bytes(), &with_key(&key[..32])),
        PskcError::KeyLength { is: 16, needs: 32, .. }
    ));
    assert_eq!(
        refused(file("rsa_1_5", turned).as_bytes(), &with_key(key)),
        PskcError::Certificate
    );
    assert!(matches!(
        refused(file("rot13", turned).as_bytes(), &with_key(key)),
        PskcError::Unsupported { .. }
    ));
    assert_eq!(
        refused(file("kw-aes128", turned).as_bytes(), &Unlock::default()),
        PskcError::NeedsKey
    );
}

/// The values of RFC 6030 figure 6, in our own container.
fn figure_6(mac: &str) -> String {
    let method = |value: &str| {
        format!(
            r#"<x:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/><x:CipherData><x:CipherValue>{value}</x:CipherValue></x:CipherData>"#
        )
    };
    let head = format!(
        r#"<EncryptionKey><KeyName>agreed</KeyName></EncryptionKey><MACMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1"><MACKey>{}</MACKey></MACMethod>"#,
        method("ESIzRFVmd4iZABEiM0RVZgKn6WjLaTC1sbeBMSvIhRejN9vJa2BOlSaMrR7I5wSX")
    );
    let value = method("AAECAwQFBgcICQoLDA0OD+cIHItlB3Wra1DUpxVvOx2lef1VmNPCMl8jwZqIUqGv");
    container(
        &head,
        &format!(
            r#"<KeyPackage><Key Id="1" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp"><Data><Secret><EncryptedValue>{value}</EncryptedValue>{mac}</Secret></Data></Key></KeyPackage>"#
        ),
    )
}

const FIGURE_6_KEY: &str = "12345678901234567890123456789012";

#[test]
fn macs_are_checked_before_anything_is_decrypted() {
    let mac = "<ValueMAC>Su+NvtQfmvfJzF6bmQiJqoLRExc=</ValueMAC>";
    let delivery = deliver(figure_6(mac).as_bytes(), &with_key(FIGURE_6_KEY), Integrity::Strict).expect("read");
    assert_eq!(delivery.tokens[0].seed.expose(), SEED);
    assert_eq!(delivery.protection.key, KeyOrigin::PreShared);
    assert_eq!(delivery.protection.cipher.as_deref(), Some("aes128-cbc"));
    assert_eq!(delivery.protection.mac.as_deref(), Some("hmac-sha1"));
    // A shortened, another, an empty MAC: refused in either mode.
    for mac in ["Su+NvtQfmvfJzF6bmQiJqoLR", "Su+NvtQfmvfJzF6bmQiJqoLRExY=", ""] {
        let file = figure_6(&format!("<ValueMAC>{mac}</ValueMAC>"));
        for integrity in [Integrity::Strict, Integrity::Lax] {
            assert_eq!(
                read(file.as_bytes(), &with_key(FIGURE_6_KEY), integrity).err(),
                Some(PskcError::Mac(1))
            );
        }
    }
    // The ciphertext turned: the MAC tells, never the padding.
    let turned = figure_6(mac).replace("jwZqIUqGv", "jwZqIUqGw");
    assert_eq!(refused(turned.as_bytes(), &with_key(FIGURE_6_KEY)), PskcError::Mac(1));
    // No MAC: strict refuses, lax counts it.
    assert_eq!(
        refused(figure_6("").as_bytes(), &with_key(FIGURE_6_KEY)),
        PskcError::NoMac(1)
    );
    let delivery = deliver(figure_6("").as_bytes(), &with_key(FIGURE_6_KEY), Integrity::Lax).expect("read");
    assert_eq!((delivery.tokens.len(), delivery.protection.unauthenticated), (1, 1));
    assert_eq!(
        refused(figure_6(mac).as_bytes(), &Unlock::default()),
        PskcError::NeedsKey
    );
}

fn outgoing(id: &str, seed: &Secret, moving: Moving) -> String {
    let token = Outgoing {
        id,
        moving,
        algorithm: OathAlgorithm::Sha256,
        digits: 8,
        seed,
        serial: Some("S<1>"),
        maker: Some("R&D"),
        model: None,
        subject: Some("jane \"j\""),
        valid_from: None,
        valid_until: Some(crate::types::UnixMillis(1_769_904_000_000)),
    };
    let randomness = vec![7; randomness_needed(1)];
    let passphrase = Secret::new(b"correct horse".to_vec());
    assert!(write(&[], &passphrase, 1, &randomness[..40]).is_none());
    let file = write(&[token], &passphrase, 1000, &randomness).expect("written");
    String::from_utf8(file.expose().to_vec()).expect("text")
}

#[test]
fn what_we_write_we_read() {
    let seed = Secret::new(SEED.to_vec());
    for moving in [
        Moving::Event { counter: 9 },
        Moving::Time {
            period_s: 60,
            drift_steps: -3,
        },
    ] {
        let file = outgoing("t1", &seed, moving);
        let delivery = deliver(file.as_bytes(), &with_passphrase("correct horse"), Integrity::Strict).expect("read");
        let token = delivery.tokens.first().expect("a token");
        assert_eq!(
            (token.moving, token.algorithm, token.digits),
            (moving, OathAlgorithm::Sha256, 8)
        );
        assert_eq!(token.seed.expose(), SEED);
        assert_eq!(
            (token.serial.as_deref(), token.maker.as_deref()),
            (Some("S<1>"), Some("R&D"))
        );
        assert_eq!(token.subject.as_deref(), Some("jane \"j\""));
        assert_eq!(token.valid_until.map(|at| at.0), Some(1_769_904_000_000));
        assert_eq!(
            delivery.protection.to_string(),
            "passphrase, PBKDF2 hmac-sha256, 1000 rounds; aes256-cbc; hmac-sha256"
        );
        assert!(matches!(
            refused(file.as_bytes(), &with_passphrase("wrong horse")),
            PskcError::Mac(_) | PskcError::Decrypt(_)
        ));
        assert_eq!(refused(file.as_bytes(), &Unlock::default()), PskcError::NeedsPassphrase);
        let greedy = file.replace(">1000<", ">4000000000<");
        assert_eq!(
            refused(greedy.as_bytes(), &with_passphrase("x")),
            PskcError::Iterations(4_000_000_000)
        );
    }
}

#[test]
fn hostile_files_cost_little() {
    let begun = std::time::Instant::now();
    let none = Unlock::default();
    let deep = container("", &"<a>".repeat(1_000_000));
    assert!(matches!(refused(deep.as_bytes(), &none), PskcError::TooComplex(1)));
    let attributes: String = (0..100_000).map(|n| format!(" a{n}='x'")).collect();
    assert!(matches!(
        refused(container("", &format!("<a{attributes}/>")).as_bytes(), &none),
        PskcError::TooComplex(1)
    ));
    let spaces: String = (0..30).map(|n| format!(" xmlns:a{n}='u:{n}'")).collect();
    let nested = format!("<a{}><a{}/></a>", &spaces, spaces.replace("xmlns:a", "xmlns:b"));
    assert!(matches!(
        refused(container("", &nested).as_bytes(), &none),
        PskcError::TooComplex(1)
    ));
    assert_eq!(
        refused(
            b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><KeyContainer Version='1.0'/>",
            &none
        ),
        PskcError::Dtd
    );
    assert_eq!(refused(b"<KeyContainer Version='2.0'/>", &none), PskcError::NotPskc);
    assert_eq!(refused(b"<KeyContainer Version='1.0'", &none), PskcError::Xml(1));
    assert_eq!(refused(b"\xff", &none), PskcError::NotUtf8);
    let many = container("", &"<KeyPackage/>".repeat(MAX_ENTRIES + 1));
    assert_eq!(refused(many.as_bytes(), &none), PskcError::TooMany);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

/// The figures of RFC 6030 and what an independent reader finds in them.
#[test]
fn the_figures_of_rfc_6030() {
    let folder = std::env::var_os("CLAVIGER_SHARED_DATA")
        .map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
            std::path::PathBuf::from,
        )
        .join("pskc");
    let Ok(expected) = std::fs::read(folder.join("expected.json")) else {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: no test data at {} (CLAVIGER_SHARED_DATA)\n", folder.display()),
        );
        return;
    };
    let expected: serde_json::Value = serde_json::from_slice(&expected).expect("JSON");
    for (name, figure) in expected.as_object().expect("an object") {
        let name = name.rsplit('/').next().expect("a name");
        let file = std::fs::read(folder.join(name)).expect("the figure");
        let unlock = match &figure["decrypt_with"] {
            serde_json::Value::Null => Unlock::default(),
            with if with["password"].is_string() => with_passphrase(with["password"].as_str().expect("text")),
            with => with_key(with["key_hex"].as_str().expect("text")),
        };
        if name == "figure8.pskcxml" {
            assert_eq!(refused(&file, &unlock), PskcError::Certificate);
            continue;
        }
        let container = read(&file, &unlock, Integrity::Strict).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            container.protection.cipher.is_some(),
            figure["encrypted"] == true,
            "{name}"
        );
        assert_eq!(container.protection.signed, figure["signed"] == true, "{name}");
        let wanted = figure["keys"].as_array().expect("keys");
        assert_eq!(container.keys.len(), wanted.len(), "{name}");
        for (entry, wanted) in container.keys.iter().zip(wanted) {
            let key = entry.key.as_ref().expect("a key");
            let is = |of: &str, value: Option<&str>| assert_eq!(value, wanted[of].as_str(), "{name} {of}");
            is("id", key.id.as_deref());
            is("serial", key.serial.as_deref());
            is("manufacturer", key.manufacturer.as_deref());
            is("issuer", key.issuer.as_deref());
            is("counter", key.counter.map(|counter| counter.to_string()).as_deref());
            is("userid", key.user_id.as_deref());
            is("key_userid", key.user_id.as_deref());
            let length = key.response.and_then(|response| response.length);
            is("response_length", length.map(|length| length.to_string()).as_deref());
            is(
                "secret",
                key.secret
                    .as_ref()
                    .map(|seed| HEXLOWER.encode(seed.expose()))
                    .as_deref(),
            );
            let algorithm = wanted["algorithm"].as_str().expect("an algorithm");
            assert_eq!(
                key.algorithm,
                if algorithm.ends_with("pin") {
                    Algorithm::Pin
                } else {
                    Algorithm::Hotp
                }
            );
        }
    }
}
