use gridloom_dlms::security::{Curve, PrivateKey};

use super::*;
use crate::objects::firmware::{MakersKey, sign_image};

const MODEL: [u8; 8] = *b"GL-1P-01";
const BLOCK: usize = 1_024;

fn at(second: i64) -> UtcTime {
    UtcTime::from_secs(1_700_000_000 + second)
}

fn maker() -> PrivateKey {
    PrivateKey::from_bytes(Curve::P256, &[7; 32]).unwrap()
}

fn config() -> ImageConfig {
    ImageConfig {
        block_size: 1_024,
        running: RunningImage {
            version: 10,
            identifier: b"factory".to_vec(),
        },
        verifier: Arc::new(MakersKey::new(maker().public_key(), MODEL)),
        trial: Duration::from_secs(3_600),
    }
}

fn image(version: u32) -> Vec<u8> {
    sign_image(MODEL, version, &vec![0x5A; 20_000], &maker())
}

fn enabled() -> ImageTransfer {
    let mut transfer = ImageTransfer::new(config());
    transfer.set(5, &Data::Boolean(true), at(0)).unwrap();
    transfer
}

fn initiate(transfer: &mut ImageTransfer, size: usize) -> Result<Option<Data>, ActionResult> {
    let parameters = Data::Structure(vec![
        Data::OctetString(b"new".to_vec()),
        Data::DoubleLongUnsigned(u32::try_from(size).unwrap()),
    ]);
    transfer.invoke(1, Some(&parameters), at(0))
}

fn send(
    transfer: &mut ImageTransfer,
    number: usize,
    bytes: &[u8],
) -> Result<Option<Data>, ActionResult> {
    let parameters = Data::Structure(vec![
        Data::DoubleLongUnsigned(u32::try_from(number).unwrap()),
        Data::OctetString(bytes.to_vec()),
    ]);
    transfer.invoke(2, Some(&parameters), at(0))
}

fn verify(transfer: &mut ImageTransfer) -> Result<Option<Data>, ActionResult> {
    transfer.invoke(3, Some(&Data::Integer(0)), at(0))
}

fn activate(transfer: &mut ImageTransfer) -> Result<Option<Data>, ActionResult> {
    transfer.invoke(4, Some(&Data::Integer(0)), at(0))
}

fn send_all(transfer: &mut ImageTransfer, image: &[u8]) {
    initiate(transfer, image.len()).unwrap();
    for (number, bytes) in image.chunks(BLOCK).enumerate() {
        send(transfer, number, bytes).unwrap();
    }
}

fn events(transfer: &mut ImageTransfer) -> Vec<ImageEvent> {
    std::iter::from_fn(|| transfer.poll_event()).collect()
}

/// The meter's memory: the state and the segments that were durable.
#[derive(Default)]
struct Memory {
    state: Vec<u8>,
    segments: Vec<Vec<u8>>,
}

impl Memory {
    fn store(&mut self, transfer: &mut ImageTransfer) -> Vec<ImageEvent> {
        let events = events(transfer);
        for event in &events {
            match event {
                ImageEvent::StoreSegment(segment) => {
                    if self.segments.len() <= *segment {
                        self.segments.resize(segment + 1, Vec::new());
                    }
                    self.segments[*segment].clear();
                    transfer.encode_segment(*segment, &mut self.segments[*segment]);
                }
                ImageEvent::ForgetSegments
                | ImageEvent::Verified { .. }
                | ImageEvent::VerificationFailed(_)
                | ImageEvent::Restart
                | ImageEvent::Activated { .. }
                | ImageEvent::RolledBack { .. } => {}
            }
        }
        self.state.clear();
        transfer.encode(&mut self.state);
        events
    }

    fn restart(&self, second: i64) -> ImageTransfer {
        let mut transfer = ImageTransfer::decode(config(), &self.state).unwrap();
        for segment in self.segments.iter().filter(|bytes| !bytes.is_empty()) {
            transfer.restore_segment(segment).unwrap();
        }
        transfer.handle_boot(at(second));
        transfer
    }
}

#[test]
fn an_image_is_sent_verified_tried_and_proved() {
    let mut transfer = enabled();
    let image = image(11);
    send_all(&mut transfer, &image);
    assert_eq!(
        transfer.get(4, at(0)),
        Ok(Data::DoubleLongUnsigned(20)),
        "no block is missing"
    );
    assert_eq!(verify(&mut transfer), Ok(None));
    let info = transfer.get(7, at(0)).unwrap();
    let [size, identifier, _] = shape::structure(&shape::array(&info, 1).unwrap()[0]).unwrap();
    assert_eq!(*size, Data::DoubleLongUnsigned(20_081));
    assert_eq!(*identifier, Data::OctetString(b"new".to_vec()));
    assert_eq!(transfer.running().version, 10);
    assert_eq!(activate(&mut transfer), Ok(None));
    assert_eq!(transfer.status(), ImageStatus::ActivationInitiated);
    assert_eq!(transfer.running().version, 11);
    assert_eq!(
        initiate(&mut transfer, 100),
        Err(ActionResult::TemporaryFailure),
        "no other image during the trial"
    );
    assert_eq!(transfer.wake(), Some((at(3_600), "firmware trial")));
    events(&mut transfer);
    transfer.handle_boot(at(10));
    transfer.handle_confirmed();
    assert_eq!(
        events(&mut transfer),
        [
            ImageEvent::ForgetSegments,
            ImageEvent::Activated { version: 11 }
        ]
    );
    assert_eq!(transfer.get(6, at(0)), Ok(Data::Enum(6)));
    assert_eq!(transfer.wake(), None);
}

#[test]
fn blocks_come_in_any_order_and_are_counted() {
    let mut transfer = enabled();
    let image = image(11);
    assert_eq!(
        send(&mut transfer, 0, &image[..BLOCK]),
        Err(ActionResult::OtherReason),
        "nothing announced"
    );
    initiate(&mut transfer, image.len()).unwrap();
    let cases = [
        (1, &image[..BLOCK], true, 0),
        (0, &image[..BLOCK], true, 2),
        (0, &image[..BLOCK], true, 2),
        (19, &image[19 * BLOCK..], true, 2),
        (20, &image[..BLOCK], false, 2),
        (19, &image[..BLOCK], false, 2),
        (2, &image[..BLOCK - 1], false, 2),
        (2, &[], false, 2),
    ];
    for (number, bytes, taken, missing) in cases {
        assert_eq!(
            send(&mut transfer, number, bytes).is_ok(),
            taken,
            "{number}"
        );
        let first = transfer.get(4, at(0));
        assert_eq!(first, Ok(Data::DoubleLongUnsigned(missing)), "{number}");
    }
    let bits = BitString::new(20, vec![0xC0, 0x00, 0x10]).unwrap();
    assert_eq!(transfer.get(3, at(0)), Ok(Data::BitString(bits)));
    assert_eq!(verify(&mut transfer), Err(ActionResult::OtherReason));
    assert_eq!(transfer.status(), ImageStatus::Initiated);
}

#[test]
fn what_is_not_the_makers_or_not_newer_does_not_run() {
    let mut bent = image(11);
    bent[5_000] ^= 1;
    let cases = [
        (bent, ImageFault::Signature),
        (
            image(10),
            ImageFault::NotNewer {
                found: 10,
                running: 10,
            },
        ),
        (vec![0; 5_000], ImageFault::Format),
    ];
    for (image, fault) in cases {
        let mut transfer = enabled();
        send_all(&mut transfer, &image);
        events(&mut transfer);
        // Activation without verification verifies.
        assert_eq!(activate(&mut transfer), Err(ActionResult::OtherReason));
        assert_eq!(
            events(&mut transfer),
            [ImageEvent::VerificationFailed(fault)]
        );
        assert_eq!(transfer.get(6, at(0)), Ok(Data::Enum(4)));
        assert_eq!(transfer.running().version, 10);
    }
}

#[test]
fn nothing_is_taken_while_it_is_not_enabled_or_too_large() {
    let mut transfer = ImageTransfer::new(config());
    assert_eq!(
        initiate(&mut transfer, 100),
        Err(ActionResult::ReadWriteDenied)
    );
    let mut transfer = enabled();
    for (size, expected) in [
        (0, Err(ActionResult::OtherReason)),
        (1 << 20, Ok(None)),
        ((1 << 20) + 1, Err(ActionResult::OtherReason)),
    ] {
        assert_eq!(initiate(&mut transfer, size), expected, "{size}");
    }
    assert_eq!(
        transfer.invoke(1, Some(&Data::Null), at(0)),
        Err(ActionResult::TypeUnmatched)
    );
}

#[test]
fn an_image_that_does_not_prove_itself_makes_way() {
    let on_trial = || {
        let mut transfer = enabled();
        send_all(&mut transfer, &image(11));
        activate(&mut transfer).unwrap();
        events(&mut transfer);
        transfer
    };
    let rolled_back = [
        ImageEvent::ForgetSegments,
        ImageEvent::RolledBack { from: 11, to: 10 },
    ];
    let mut crashing = on_trial();
    for boot in 0..TRIAL_BOOTS_MAX {
        crashing.handle_boot(at(i64::from(boot)));
        assert!(crashing.is_on_trial());
    }
    crashing.handle_boot(at(60));
    assert_eq!(events(&mut crashing), rolled_back);
    assert_eq!(crashing.running().identifier, b"factory");
    assert_eq!(crashing.get(6, at(0)), Ok(Data::Enum(7)));
    // Whoever proves itself too late changes nothing.
    crashing.handle_confirmed();
    assert_eq!(events(&mut crashing), []);

    let mut silent = on_trial();
    silent.handle_time(at(3_599));
    assert!(silent.is_on_trial());
    silent.handle_time(at(3_600));
    assert_eq!(events(&mut silent), rolled_back);
    // A later start after the time is over.
    let mut late = on_trial();
    late.handle_boot(at(4_000));
    assert_eq!(events(&mut late), rolled_back);
}

#[test]
fn a_crash_after_any_step_loses_nothing_that_was_answered() {
    let image = image(11);
    let blocks: Vec<&[u8]> = image.chunks(BLOCK).collect();
    let steps = blocks.len() + 3;
    for crash in 0..steps {
        let mut memory = Memory::default();
        let mut transfer = enabled();
        let mut trial_boots = 0;
        for step in 0..steps {
            match step {
                0 => initiate(&mut transfer, image.len()),
                step if step <= blocks.len() => send(&mut transfer, step - 1, blocks[step - 1]),
                step if step == blocks.len() + 1 => verify(&mut transfer),
                _ => activate(&mut transfer),
            }
            .unwrap_or_else(|error| panic!("step {step}, crash after {crash}: {error:?}"));
            memory.store(&mut transfer);
            if step == crash {
                transfer = memory.restart(1);
                trial_boots += 1;
            }
        }
        assert_eq!(transfer.running().version, 11);
        assert!(trial_boots <= TRIAL_BOOTS_MAX);
        transfer.handle_confirmed();
        assert_eq!(transfer.status(), ImageStatus::ActivationSuccessful);
    }
}

#[test]
fn a_lost_segment_is_asked_for_again_and_an_old_one_is_not_taken() {
    let mut memory = Memory::default();
    let mut transfer = enabled();
    let image = image(11);
    send_all(&mut transfer, &image);
    verify(&mut transfer).unwrap();
    memory.store(&mut transfer);
    memory.segments[1].clear();
    let mut restarted = memory.restart(1);
    assert_eq!(restarted.get(4, at(0)), Ok(Data::DoubleLongUnsigned(8)));
    assert_eq!(activate(&mut restarted), Err(ActionResult::OtherReason));
    assert_eq!(restarted.status(), ImageStatus::Initiated);
    for (number, bytes) in image.chunks(BLOCK).enumerate().skip(8).take(8) {
        send(&mut restarted, number, bytes).unwrap();
    }
    assert_eq!(activate(&mut restarted), Ok(None));

    // Another transfer has begun; the segments of the first one are still there.
    let mut again = memory.restart(1);
    initiate(&mut again, image.len()).unwrap();
    memory.store(&mut again);
    let again = memory.restart(1);
    assert_eq!(again.get(4, at(0)), Ok(Data::DoubleLongUnsigned(0)));
}

#[test]
fn a_damaged_state_is_refused() {
    let mut memory = Memory::default();
    let mut transfer = enabled();
    send_all(&mut transfer, &image(11));
    activate(&mut transfer).unwrap();
    memory.store(&mut transfer);
    for cut in 0..memory.state.len() {
        assert!(ImageTransfer::decode(config(), &memory.state[..cut]).is_err());
    }
    for (place, byte) in [(0, 9), (1, 2), (2, 8), (2, 3)] {
        let mut bent = memory.state.clone();
        bent[place] = byte;
        assert!(ImageTransfer::decode(config(), &bent).is_err(), "{place}");
    }
    let segment = &memory.segments[0];
    for cut in 0..segment.len() {
        assert!(transfer.restore_segment(&segment[..cut]).is_err());
    }
}
