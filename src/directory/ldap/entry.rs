//! A person's entry: what its attributes say.

use ldap3::ResultEntry;
use ldap3::asn1::StructureTag;

use super::{Fault, Section};
use crate::types::cases::Privilege;

/// Longest value that is taken, in bytes.
const LONGEST: usize = 1_024;

/// What LDAP says of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::directory) struct Found {
    pub(in crate::directory) role: Option<String>,
    pub(in crate::directory) privilege: Option<Privilege>,
    pub(in crate::directory) account: Option<String>,
    pub(in crate::directory) contact: Option<String>,
}

/// Reads an entry.
///
/// # Errors
/// [`Fault::Malformed`]; [`Fault::Attribute`] for a value that cannot be read: overlooking it might overlook a privilege.
pub(super) fn read(entry: ResultEntry, section: &Section) -> Result<Found, Fault> {
    let attributes = attributes(entry.0).ok_or(Fault::Malformed)?;
    let values = |name: &Option<String>| -> Result<Vec<String>, Fault> {
        let Some(name) = name else {
            return Ok(Vec::new());
        };
        let unreadable = || Fault::Attribute(name.clone());
        let of_name = attributes
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
        of_name
            .flat_map(|(_, values)| values)
            .map(|value| match std::str::from_utf8(value) {
                Ok(text) if text.len() <= LONGEST && !text.contains('\0') => Ok(text.to_owned()),
                _ => Err(unreadable()),
            })
            .collect()
    };
    let one = |name: &Option<String>| match values(name)?.as_slice() {
        [] => Ok(None),
        [value] => Ok(Some(value.clone())),
        _ => Err(Fault::Attribute(name.clone().unwrap_or_default())),
    };
    let has = |values: &[String], wanted: &str| values.iter().any(|value| normal(value) == normal(wanted));
    let of_role = values(&section.role_attribute)?;
    let of_privilege = values(&section.privilege_attribute)?;
    let given = section.roles.iter().find(|gives| has(&of_role, &gives.value));
    let role = given.map(|gives| gives.role.clone()).or_else(|| section.role.clone());
    let is_privileged = section.privileged.iter().any(|wanted| has(&of_privilege, wanted));
    // Of several contacts none is taken: telling somebody else would be worse than telling nobody.
    let contact = values(&section.contact_attribute)?;
    let contact = match contact.as_slice() {
        [only] => Some(format!("{}{only}", section.contact_prefix)),
        _ => None,
    };
    Ok(Found {
        role,
        privilege: is_privileged.then_some(Privilege::Privileged),
        account: one(&section.account_attribute)?,
        contact,
    })
}

/// For comparing: names and the values of most attributes differ in case only where somebody wrote them so, and a distinguished name may have
/// spaces about its commas.
fn normal(value: &str) -> String {
    let parts: Vec<String> = value.split(',').map(|part| part.trim().to_lowercase()).collect();
    parts.join(",")
}

type Attributes = Vec<(Vec<u8>, Vec<Vec<u8>>)>;

/// `SearchResultEntry` (RFC 4511, 4.5.2): a name, then attributes with their values.
fn attributes(entry: StructureTag) -> Option<Attributes> {
    let mut parts = entry.match_id(4)?.expect_constructed()?.into_iter();
    let (_name, attributes) = (parts.next()?, parts.next()?);
    attributes.expect_constructed()?.into_iter().map(attribute).collect()
}

fn attribute(tag: StructureTag) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut parts = tag.expect_constructed()?.into_iter();
    let name = parts.next()?.expect_primitive()?;
    let values = parts.next()?.expect_constructed()?.into_iter();
    Some((name, values.map(StructureTag::expect_primitive).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguished_names_are_compared_without_case_and_spaces() {
        assert_eq!(
            normal("CN=Admins, OU=Groups,dc=example"),
            normal("cn=admins,ou=groups,DC=Example")
        );
        assert_ne!(normal("cn=admins,ou=groups"), normal("cn=admins2,ou=groups"));
    }
}
