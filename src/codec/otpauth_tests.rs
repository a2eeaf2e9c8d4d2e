use super::*;

const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

#[test]
fn every_parameter_is_read() {
    let uri = format!(
        "otpauth://totp/ACME%20Co:jane%40example.com?secret={SEED}&issuer=ACME%20Co&algorithm=SHA256&digits=8&period=60&image=x"
    );
    let token = read(&uri).expect("a token");
    assert_eq!(
        token.moving,
        Moving::Time {
            period_s: 60,
            drift_steps: 0
        }
    );
    assert_eq!((token.algorithm, token.digits), (OathAlgorithm::Sha256, 8));
    assert_eq!(token.seed.expose(), b"12345678901234567890");
    assert_eq!(token.subject.as_deref(), Some("jane@example.com"));
    assert_eq!(token.label.as_deref(), Some("ACME Co"));
    let token = read(&format!("OTPAUTH://HOTP/x?secret={SEED}&counter=7")).expect("a token");
    assert_eq!(token.moving, Moving::Event { counter: 7 });
    assert_eq!((token.algorithm, token.digits), (OathAlgorithm::Sha1, 6));
}

#[test]
fn what_is_wrong_is_named() {
    let flaw = |uri: &str| read(uri).err().expect("refused");
    assert_eq!(flaw("https://totp/x?secret=A"), Flaw::Uri);
    assert_eq!(flaw("otpauth://totp/x"), Flaw::Missing("seed"));
    assert_eq!(
        flaw(&format!("otpauth://totp/x?secret={SEED}&secret={SEED}")),
        Flaw::Uri
    );
    assert_eq!(flaw(&format!("otpauth://yaotp/x?secret={SEED}")), Flaw::Type);
    assert_eq!(
        flaw(&format!("otpauth://totp/x?secret={SEED}&digits=9")),
        Flaw::Digits(9)
    );
    assert_eq!(
        flaw(&format!("otpauth://totp/x?secret={SEED}&period=0")),
        Flaw::Period(0)
    );
    assert_eq!(
        flaw(&format!("otpauth://totp/x?secret={SEED}&algorithm=MD5")),
        Flaw::Algorithm
    );
    assert!(matches!(flaw("otpauth://totp/x?secret=10"), Flaw::Seed(_)));
    assert_eq!(
        flaw(&format!("otpauth://totp/x%0ay?secret={SEED}")),
        Flaw::Text("account name")
    );
    assert_eq!(flaw(&format!("otpauth://totp/%ff?secret={SEED}")), Flaw::Uri);
}

#[test]
fn a_file_has_one_on_each_line_and_what_is_left_can_be_read_again() {
    let good = format!("otpauth://totp/a?secret={SEED}\r\n");
    let file = format!("# phones\n{good}\notpauth://totp/b?secret=01\n{good}");
    let delivery = deliver(file.as_bytes()).expect("read");
    assert_eq!(
        delivery.tokens.iter().map(|token| token.line).collect::<Vec<_>>(),
        [2, 5]
    );
    assert_eq!(delivery.rejected.iter().map(|row| row.line).collect::<Vec<_>>(), [4]);
    let done: Vec<_> = delivery.tokens.iter().map(|token| token.span.clone()).collect();
    let left = Delivery::left(file.as_bytes(), &done);
    assert_eq!(left.expose(), b"# phones\n\notpauth://totp/b?secret=01\n");
}
