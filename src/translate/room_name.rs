//! What rooms are called that are made for channels.

use super::template::{self, Part, TemplateError};

/// A room's name, such as `{channel} on {network}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomNameTemplate(Vec<Part<Of>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Channel,
    Network,
}

impl RoomNameTemplate {
    /// Reads a template of any text, `{channel}` and `{network}`.
    ///
    /// # Errors
    /// It must contain `{channel}`.
    pub fn new(template: &str) -> Result<Self, TemplateError> {
        let parts = template::parse(template, &[("channel", Of::Channel), ("network", Of::Network)])?;
        if parts.contains(&Part::Value(Of::Channel)) {
            Ok(Self(parts))
        } else {
            Err(TemplateError::Missing("{channel}"))
        }
    }

    /// The name of a channel's room, on the network of that name.
    #[must_use]
    pub fn name(&self, channel: &str, network: &str) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Value(Of::Channel) => channel,
            Part::Value(Of::Network) => network,
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r96_rooms_are_called_what_people_call_their_channels() {
        for (template, name) in [
            ("{channel}", Some("#tea")),
            ("{channel} ({network})", Some("#tea (The {channel} Net)")),
            ("{network}", None),
            ("{room}", None),
            ("{channel", None),
        ] {
            let template = RoomNameTemplate::new(template).ok();
            assert_eq!(template.map(|template| template.name("#tea", "The {channel} Net")).as_deref(), name);
        }
    }
}
