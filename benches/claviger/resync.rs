//! What the joint search costs beyond its HMACs.

use std::hint::black_box;
use std::time::Instant;

use claviger::codec::oath::{Code, Generator, OathParameters};
use claviger::resync::{DriftState, Policy, search_codes};
use claviger::types::{Secret, UnixMillis};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use crate::report::{Measured, median};

const ROUNDS: usize = 101;
const NOW: UnixMillis = UnixMillis(1_800_000_015_000);
const SEED: &[u8; 20] = b"12345678901234567890";

/// `resync_24h_over_hmac_loop`: two codes that fit nowhere, searched over ±24 h, against as many HMAC-SHA-1 of eight bytes in a
/// loop, one after the other so that whatever else the machine does hits both.
pub fn ratio() -> Result<Measured, String> {
    let seed = Secret::new(SEED.to_vec());
    let generator = Generator::new(&seed, OathParameters::default()).map_err(|error| error.to_string())?;
    let code = |text: &str| Code::parse(text).map_err(|error| error.to_string());
    let codes = [(code("000000")?, NOW), (code("000001")?, NOW)];
    let state = DriftState {
        last_seen: Some(NOW),
        ..DriftState::default()
    };
    let policy = Policy::default();
    let before = generator.computed();
    let _ = search_codes(&state, &generator, &codes, NOW, &policy);
    let steps = generator.computed() - before;

    let keyed = Hmac::<Sha1>::new_from_slice(SEED).map_err(|error| error.to_string())?;
    let (mut searches, mut loops, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        searches.push(ms(|| {
            let _ = black_box(search_codes(&state, &generator, black_box(&codes), NOW, &policy));
        }));
        loops.push(ms(|| {
            for step in 0..steps {
                if let Ok(mut hmac) = Hmac::<Sha1>::new_from_slice(black_box(SEED)) {
                    hmac.update(&black_box(step).to_be_bytes());
                    black_box(hmac.finalize().into_bytes());
                }
            }
        }));
        kept.push(ms(|| {
            for step in 0..steps {
                let mut hmac = black_box(&keyed).clone();
                hmac.update(&black_box(step).to_be_bytes());
                black_box(hmac.finalize().into_bytes());
            }
        }));
    }
    let (search, bare, kept) = (median(&searches), median(&loops), median(&kept));
    Ok(Measured {
        value: search / bare,
        notes: vec![format!(
            "{steps} HMACs: search {search:.2} ms, loop {bare:.2} ms (with the key's two blocks kept, {kept:.2} ms); middle of {ROUNDS} \
             rounds"
        )],
    })
}

fn ms(job: impl FnOnce()) -> f64 {
    let start = Instant::now();
    job();
    start.elapsed().as_secs_f64() * 1000.0
}
