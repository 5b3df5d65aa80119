//! Campaigns: what they ask of a meter becomes a session, and the session their answer.

use gridloom_core::{MeterId, Now, ObisCode};
use gridloom_dlms::apdu::{ActionResult, AttributeDescriptor};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::ClientError;
use gridloom_headend::campaign::{
    CampaignOutput, ImageAnswer, ImageRequest, ImageStatus, Phase, TransferStatus,
};
use gridloom_headend::profile::integer_of;
use gridloom_headend::schedule::Lane;
use gridloom_headend::session::{Step, StepError, StepValue};

use super::orders::{OrderId, Part};
use super::talk::Talked;
use super::work::{PATIENCE, get, invoke, words_of};
use super::{HeadEndNode, Task};

const IMAGE_TRANSFER: ObisCode = ObisCode([0, 0, 44, 0, 0, 255]);
const FIRMWARE_VERSION: ObisCode = ObisCode([1, 0, 0, 2, 0, 255]);

impl HeadEndNode {
    pub(super) fn carry_out_campaign(&mut self, number: u64, output: CampaignOutput, now: Now) {
        match output {
            CampaignOutput::Ask(meter, request) => {
                let task = Task::Image(number, meter, request);
                let deadline = now.utc + PATIENCE;
                self.submit_task(meter, Lane::Command, task, now.utc, deadline, now);
            }
            CampaignOutput::Halted(why) => {
                self.alarm(None, format!("campaign {number} halted: {why}"), now);
            }
            CampaignOutput::Finished => {
                if let Some(campaign) = self.campaigns.remove(&number) {
                    let report = campaign.report();
                    let order = OrderId(number);
                    for (meter, phase) in &report.meters {
                        self.set_part(order, *meter, part_of(phase));
                    }
                    self.campaign_reports.insert(number, report);
                    self.close_order(order);
                }
            }
        }
    }

    pub(super) fn image_steps(&self, number: u64, request: ImageRequest) -> Option<Vec<Step>> {
        let named = self.images.get(&number)?;
        let image = |method, parameters| invoke(18, IMAGE_TRANSFER, method, parameters);
        Some(match request {
            ImageRequest::ReadVersion => vec![get(1, FIRMWARE_VERSION, 2)],
            ImageRequest::ReadStatus => vec![Step::GetList(
                [2, 4, 5, 6]
                    .map(|attribute| AttributeDescriptor {
                        class_id: 18,
                        instance: IMAGE_TRANSFER,
                        attribute,
                    })
                    .to_vec(),
            )],
            ImageRequest::Enable => vec![Step::Set {
                attribute: AttributeDescriptor {
                    class_id: 18,
                    instance: IMAGE_TRANSFER,
                    attribute: 5,
                },
                access: None,
                value: Data::Boolean(true),
            }],
            ImageRequest::Initiate => vec![image(
                1,
                Data::Structure(vec![
                    Data::OctetString(named.identifier.clone()),
                    Data::DoubleLongUnsigned(named.size),
                ]),
            )],
            ImageRequest::SendBlocks {
                first,
                count,
                block_size,
            } => {
                let bytes = self.config.images.get(&named.digest)?;
                let blocks = bytes.chunks(block_size.max(1) as usize);
                let blocks = (0_u32..).zip(blocks).skip(first as usize);
                let steps = blocks.take(count as usize).map(|(block, bytes)| {
                    let parameters = Data::Structure(vec![
                        Data::DoubleLongUnsigned(block),
                        Data::OctetString(bytes.to_vec()),
                    ]);
                    image(2, parameters)
                });
                steps.collect()
            }
            ImageRequest::Verify => vec![image(3, Data::Integer(0))],
            ImageRequest::Activate => vec![image(4, Data::Integer(0))],
        })
    }

    pub(super) fn image_answered(
        &mut self,
        number: u64,
        meter: MeterId,
        answer: ImageAnswer,
        now: Now,
    ) {
        if let Some(campaign) = self.campaigns.get_mut(&number) {
            campaign.handle_answer(meter, answer, now);
            self.drain_campaign(number);
        }
    }
}

/// How a meter's part stands once the campaign is over.
fn part_of(phase: &Phase) -> Part {
    match phase {
        Phase::Succeeded => Part::Done,
        Phase::Failed(why) => Part::Failed(why.clone()),
        Phase::Waiting
        | Phase::Begun
        | Phase::Initiated
        | Phase::Verified
        | Phase::Activating
        | Phase::Cancelled => Part::Failed("left alone: the campaign was aborted".to_owned()),
    }
}

pub(super) fn image_answer(request: ImageRequest, talked: &Talked) -> ImageAnswer {
    let unusable = || ImageAnswer::Refused("its answer has an unexpected type".to_owned());
    let failed = talked
        .results
        .iter()
        .find_map(|result| result.as_ref().err());
    if let Some(error) = failed {
        let StepError::Client(error @ (ClientError::Method(..) | ClientError::Object(..))) = error
        else {
            return ImageAnswer::Unreachable(words_of(talked));
        };
        let is_under_way = matches!(
            error,
            ClientError::Method(ActionResult::TemporaryFailure, _)
        );
        return if is_under_way {
            ImageAnswer::UnderWay
        } else {
            ImageAnswer::Refused(error.to_string())
        };
    }
    match (request, talked.results.first()) {
        (ImageRequest::ReadVersion, Some(Ok(StepValue::Data(value)))) => {
            let bytes = if let Data::OctetString(bytes) = value {
                Some(bytes.as_slice())
            } else if let Data::VisibleString(text) = value {
                Some(text.as_ref())
            } else {
                None
            };
            bytes.map_or_else(unusable, |bytes| {
                ImageAnswer::Version(String::from_utf8_lossy(bytes).into_owned())
            })
        }
        (ImageRequest::ReadStatus, Some(Ok(StepValue::List(values)))) => {
            image_status(values).map_or_else(unusable, ImageAnswer::Status)
        }
        (_, Some(Ok(StepValue::Invoked(_) | StepValue::Written))) => ImageAnswer::Done,
        _ => unusable(),
    }
}

fn image_status<E>(values: &[Result<Data, E>]) -> Option<ImageStatus> {
    let [
        Ok(block),
        Ok(missing),
        Ok(Data::Boolean(is_enabled)),
        Ok(Data::Enum(code)),
    ] = values
    else {
        return None;
    };
    let number = |value| integer_of(value).and_then(|value| u32::try_from(value).ok());
    Some(ImageStatus {
        block_size: number(block)?,
        first_missing: number(missing)?,
        is_enabled: *is_enabled,
        transfer: TransferStatus::from_code(*code)?,
    })
}
