//! Whom tokens are for, as a file lists them: read and refused by line, like the policy.
//!
//! A subject that stands in the file has what the file says. Whoever has an account on this host and does not stand there can have a
//! role by a group, else the role of everybody with an account. Roles are kept by name: the policy that knows them can change.

use toml::de::DeTable;

use super::policy::{Day, Policy};
use super::reader::{Fault, LONGEST, Section, Text};
use crate::types::cases::Privilege;

/// Version of the form.
const FORM: u32 = 1;
/// Longest name of a subject, an account or a group, in bytes: as on the bus.
const LONGEST_NAME: usize = 256;

/// A subject that stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As the organisation names them.
    pub name: String,
    /// Their account on this host.
    pub account: Option<String>,
    /// Role, where the file says it.
    pub role: Option<String>,
    /// More than the role's.
    pub privilege: Option<Privilege>,
    /// How they are told, in the form that the hook understands.
    pub contact: Option<String>,
    /// When somebody made sure that the contact is theirs.
    pub contact_verified: Option<Day>,
    /// Until when they need no second factor, that day included.
    pub exempt_until: Option<Day>,
}

/// Those with an account on this host that nothing else speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// Their role.
    pub role: String,
    /// A subject `NAME@domain` is the account `NAME`.
    pub domain: Option<String>,
}

/// A whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    /// Subjects.
    pub listed: Vec<Listed>,
    /// Groups of this host, each with the role of its members; the first that fits counts.
    pub groups: Vec<(String, String)>,
    /// Everybody else with an account; without it they are unknown.
    pub accounts: Option<Accounts>,
}

impl People {
    /// A subject by name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Listed> {
        self.listed.iter().find(|one| one.name == name)
    }

    /// The subject that has an account.
    #[must_use]
    pub fn of_account(&self, account: &str) -> Option<&Listed> {
        self.listed.iter().find(|one| one.account.as_deref() == Some(account))
    }

    /// The account that a subject's name stands for, where the file does not say it: the name itself, without our domain.
    #[must_use]
    pub fn account_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        match name.rsplit_once('@') {
            None => Some(name),
            Some((account, domain)) => {
                let ours = self.accounts.as_ref().and_then(|all| all.domain.as_deref());
                (ours == Some(domain) && !account.is_empty()).then_some(account)
            }
        }
    }

    /// The role that the groups of an account give.
    #[must_use]
    pub fn role_of_groups(&self, of: &[String]) -> Option<&str> {
        let first = self.groups.iter().find(|(group, _)| of.contains(group));
        first.map(|(_, role)| role.as_str())
    }
}

/// Reads the file against the policy whose roles it names.
///
/// # Errors
/// All that is wrong with it, by line; at least one [`Fault`].
pub fn load(text: &str, policy: &Policy) -> Result<People, Vec<Fault>> {
    let source = Text::new(text);
    if text.len() > LONGEST {
        source.fault(0, format!("a file of subjects has at most {LONGEST} bytes"));
        return Err(source.faults());
    }
    let people = match DeTable::parse(text) {
        Ok(document) => read(
            &source,
            &Section::new(&source, document.get_ref(), "the file of subjects", 0),
            policy,
        ),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            source.fault(at, format!("this is not TOML: {}", error.message()));
            People::default()
        }
    };
    if source.sound() {
        Ok(people)
    } else {
        Err(source.faults())
    }
}

fn read(text: &Text<'_>, top: &Section<'_, '_>, policy: &Policy) -> People {
    let form = top.number("form", 1..=u32::MAX, None);
    if form > FORM {
        text.fault(
            top.place("form"),
            format!("this Claviger reads files of subjects of form {FORM}; form {form} is newer"),
        );
    }
    let roles: Vec<&str> = policy.roles.iter().map(|role| role.name.as_str()).collect();
    let mut people = People::default();
    for section in top.several("group") {
        let (name, role) = (named(text, &section, "name"), section.word("role", &roles));
        if let (Some(name), Some(role)) = (name, role) {
            if people.groups.iter().any(|(before, _)| *before == name) {
                text.fault(section.at, format!("the group “{name}” has a role already"));
            }
            people.groups.push((name, role));
        }
        section.done();
    }
    if top.has("accounts") {
        people.accounts = top.section("accounts").and_then(|section| {
            let role = section.word("role", &roles);
            let domain = section.text("domain");
            section.done();
            role.map(|role| Accounts { role, domain })
        });
    }
    for section in top.several("subject") {
        let at = section.at;
        let Some(listed) = subject(text, section, &roles) else {
            continue;
        };
        if people.named(&listed.name).is_some() {
            text.fault(at, format!("the subject “{}” stands here twice", listed.name));
        }
        if let Some(account) = &listed.account
            && let Some(other) = people.of_account(account)
        {
            text.fault(
                at,
                format!(
                    "the account “{account}” is {}'s already: an account is one person's",
                    other.name
                ),
            );
        }
        people.listed.push(listed);
    }
    top.finish();
    people
}

fn subject(text: &Text<'_>, section: Section<'_, '_>, roles: &[&str]) -> Option<Listed> {
    let name = named(text, &section, "name");
    let privileges: Vec<&str> = Privilege::ALL.iter().map(|one| one.as_str()).collect();
    let optional = |key: &'static str, known: &[&str]| -> Option<String> {
        if section.has(key) {
            section.word(key, known)
        } else {
            None
        }
    };
    let listed = Listed {
        account: section.text("account"),
        role: optional("role", roles),
        privilege: optional("privilege", &privileges).and_then(|word| word.parse().ok()),
        contact: section.text("contact"),
        contact_verified: section.day("contact-verified"),
        exempt_until: section.day("exempt-until"),
        name: name.unwrap_or_default(),
    };
    if listed.contact.is_none() && listed.contact_verified.is_some() {
        text.fault(
            section.place("contact-verified"),
            "“contact-verified” says that a contact is right, but there is no “contact”",
        );
    }
    section.done();
    (!listed.name.is_empty()).then_some(listed)
}

/// A name that must be there.
fn named(text: &Text<'_>, section: &Section<'_, '_>, key: &'static str) -> Option<String> {
    let name = section.text(key);
    match &name {
        Some(name) if !name.trim().is_empty() && name.len() <= LONGEST_NAME => {}
        Some(_) => text.fault(
            section.place(key),
            format!("“{key}” in {} must have 1 to {LONGEST_NAME} bytes", section.name),
        ),
        None => text.fault(section.at, format!("{} lacks “{key}”", section.name)),
    }
    name.filter(|name| !name.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::load::shipped;
    use super::*;

    fn faults(text: &str) -> Vec<(usize, String)> {
        let faults = load(text, &shipped().unwrap()).unwrap_err();
        faults.into_iter().map(|fault| (fault.line, fault.what)).collect()
    }

    const WHOLE: &str = r#"form = 1
[[group]]
name = "wheel"
role = "administrator"
[[group]]
name = "users"
role = "staff"
[accounts]
role = "staff"
domain = "example.org"
[[subject]]
name = "trillian@example.org"
account = "tricia"
privilege = "privileged"
contact = "mailto:tricia@example.org"
contact-verified = 2026-05-01
[[subject]]
name = "arthur@elsewhere.example"
role = "staff"
exempt-until = 2027-01-31
"#;

    #[test]
    fn a_whole_file_is_read() {
        let people = load(WHOLE, &shipped().unwrap()).unwrap();
        let trillian = people.named("trillian@example.org").unwrap();
        assert_eq!(trillian.privilege, Some(Privilege::Privileged));
        assert_eq!(trillian.role, None);
        assert_eq!(people.of_account("tricia"), Some(trillian));
        assert_eq!(people.account_of("ford@example.org"), Some("ford"));
        assert_eq!(people.account_of("ford"), Some("ford"));
        assert_eq!(people.account_of("ford@elsewhere.example"), None);
        assert_eq!(people.account_of("@example.org"), None);
        let groups = ["users".to_owned(), "wheel".to_owned()];
        assert_eq!(people.role_of_groups(&groups), Some("administrator"));
        assert_eq!(people.role_of_groups(&[]), None);
        assert_eq!(load("form = 1\n", &shipped().unwrap()), Ok(People::default()));
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        for (text, line, what) in [
            ("", 1, "lacks “form”"),
            ("form = 2\n", 1, "form 2 is newer"),
            (
                "form = 1\n[[subject]]\nname = \"a\"\nrole = \"staf\"\n",
                4,
                "did you mean “staff”?",
            ),
            ("form = 1\n[[subject]]\nrole = \"staff\"\n", 2, "lacks “name”"),
            ("form = 1\n[[subject]]\nname = \" \"\n", 3, "must have 1 to 256 bytes"),
            (
                "form = 1\n[[subject]]\nname = \"a\"\n[[subject]]\nname = \"a\"\n",
                4,
                "stands here twice",
            ),
            (
                "form = 1\n[[subject]]\nname = \"a\"\naccount = \"x\"\n[[subject]]\nname = \"b\"\naccount = \"x\"\n",
                5,
                "is a's already",
            ),
            (
                "form = 1\n[[subject]]\nname = \"a\"\ncontact-verified = 2026-01-01\n",
                4,
                "there is no “contact”",
            ),
            (
                "form = 1\n[[subject]]\nname = \"a\"\nbirthday = 1979-10-12\n",
                4,
                "has no key “birthday”",
            ),
            ("form = 1\n[[group]]\nname = \"g\"\n", 2, "lacks “role”"),
            ("form = 1\n[accounts]\n", 2, "lacks “role”"),
            (
                "form = 1\n[[subject]]\nname = \"a\"\nexempt-until = \"soon\"\n",
                4,
                "a day without quotes",
            ),
            ("form = ", 1, "this is not TOML"),
        ] {
            let found = faults(text);
            assert!(
                found.iter().any(|(at, told)| *at == line && told.contains(what)),
                "{text}: {found:?}"
            );
        }
    }
}
