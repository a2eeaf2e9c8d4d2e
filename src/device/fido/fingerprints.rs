//! Fingers that a key knows (authenticatorBioEnrollment).

use super::{FidoContext, FidoSession, Patience};
use crate::codec::ctap2::ResponseError;
use crate::codec::ctap2::bio_enrollment::{self as bio, Dialect, Sample, SensorInfo, Subcommand, Template};
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::pin_protocol::PinUvAuthToken;
use crate::codec::ctap2::status::Status;
use crate::device::DeviceError;
use crate::types::time_left;

/// More samples than any finger takes; good or not, an enrolment ends with them.
const MOST_SAMPLES: usize = 100;

impl FidoSession<'_> {
    /// What sort of sensor the key has.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when it has none.
    pub fn fingerprint_sensor(&mut self, context: &mut FidoContext<'_>) -> Result<SensorInfo, DeviceError> {
        let response = self.bio(Subcommand::GetFingerprintSensorInfo, None, context)?;
        SensorInfo::parse(&response).map_err(|e| self.judge(e))
    }

    /// The fingers it knows, none included. `token`, here and below, needs
    /// [`BIO_ENROLLMENT`](crate::codec::ctap2::client_pin::Permissions::BIO_ENROLLMENT).
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when it has no sensor.
    pub fn fingerprints(
        &mut self,
        token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<Vec<Template>, DeviceError> {
        let response = self.bio(Subcommand::EnumerateEnrollments, Some(token), context)?;
        match bio::parse_templates(&response) {
            Err(ResponseError::Refused(Status::INVALID_OPTION)) => Ok(Vec::new()),
            other => other.map_err(|e| self.judge(e)),
        }
    }

    /// Learns a new finger and gives its template id. `on_sample` is told of each sample and may say that it is enough. What is
    /// not brought to its end is taken back.
    ///
    /// # Errors
    /// [`DeviceError::StorageFull`], [`DeviceError::TouchTimeout`], [`DeviceError::Cancelled`] and the others.
    pub fn enrol_fingerprint(
        &mut self,
        token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
        on_sample: &mut dyn FnMut(&Sample),
    ) -> Result<Vec<u8>, DeviceError> {
        let enrolled = self.samples(token, context, on_sample);
        // Every option of the key may read differently now.
        self.info = None;
        if enrolled.is_err() && !time_left(context.end).is_zero() {
            let insisting = crate::types::Cancel::new();
            let mut context = FidoContext {
                deadlines: context.deadlines,
                end: context.end,
                cancel: &insisting,
                on_touch_needed: &mut |_| {},
            };
            // The next power-up does the same, so a failure harms nobody.
            let _ = self.bio(Subcommand::CancelCurrentEnrollment, None, &mut context);
        }
        enrolled
    }

    fn samples(
        &mut self,
        token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
        on_sample: &mut dyn FnMut(&Sample),
    ) -> Result<Vec<u8>, DeviceError> {
        let timeout_ms = u32::try_from(context.deadlines.touch.as_millis()).unwrap_or(u32::MAX);
        let response = self.bio(Subcommand::EnrollBegin { timeout_ms }, Some(token), context)?;
        let mut sample = Sample::parse(&response).map_err(|e| self.judge(e))?;
        let template_id = sample
            .template_id
            .take()
            .ok_or(DeviceError::Protocol("an enrolment without a template"))?;
        for _ in 0..MOST_SAMPLES {
            on_sample(&sample);
            if sample.remaining == 0 {
                return Ok(template_id);
            }
            let next = Subcommand::EnrollCaptureNextSample {
                template_id: &template_id,
                timeout_ms,
            };
            let response = self.bio(next, Some(token), context)?;
            sample = Sample::parse(&response).map_err(|e| self.judge(e))?;
        }
        Err(DeviceError::Protocol("an enrolment without an end"))
    }

    /// Gives a finger a name.
    ///
    /// # Errors
    /// [`DeviceError::NoCredential`] when the key does not know the finger.
    pub fn name_fingerprint(
        &mut self,
        template_id: &[u8],
        name: &str,
        token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<(), DeviceError> {
        self.change_fingerprint(Subcommand::SetFriendlyName { template_id, name }, token, context)
    }

    /// Removes a finger.
    ///
    /// # Errors
    /// [`DeviceError::NoCredential`] when the key does not know the finger.
    pub fn remove_fingerprint(
        &mut self,
        template_id: &[u8],
        token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<(), DeviceError> {
        self.change_fingerprint(Subcommand::RemoveEnrollment { template_id }, token, context)
    }

    fn change_fingerprint(
        &mut self,
        subcommand: Subcommand<'_>,
        token: &PinUvAuthToken,
        context: &mut FidoContext<'_>,
    ) -> Result<(), DeviceError> {
        let response = self.bio(subcommand, Some(token), context)?;
        self.info = None;
        match bio::parse_done(&response) {
            Err(ResponseError::Refused(Status::INVALID_OPTION | Status::INVALID_PARAMETER)) => {
                Err(DeviceError::NoCredential)
            }
            other => other.map_err(|e| self.judge(e)),
        }
    }

    fn bio(
        &mut self,
        subcommand: Subcommand<'_>,
        token: Option<&PinUvAuthToken>,
        context: &mut FidoContext<'_>,
    ) -> Result<Vec<u8>, DeviceError> {
        let dialect = dialect(&self.get_info(context)?).ok_or(DeviceError::Unsupported("fingerprints"))?;
        let patience = match subcommand {
            Subcommand::EnrollBegin { .. } | Subcommand::EnrollCaptureNextSample { .. } => Patience::Touch,
            _ => Patience::Exchange,
        };
        let request = bio::request(dialect, subcommand, token)?;
        self.exchange(&request, patience, context)
    }
}

/// Which bio enrolment a key has: the option is there, true or false, when it has a sensor.
fn dialect(info: &GetInfo) -> Option<Dialect> {
    if info.option("bioEnroll").is_some() {
        Some(Dialect::Standard)
    } else {
        info.option("userVerificationMgmtPreview").map(|_| Dialect::Preview)
    }
}
