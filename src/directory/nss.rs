//! Accounts and groups of this host, through its name service (nsswitch.conf(5)): files, SSSD, whatever is configured there.

use std::ffi::CString;

use nix::unistd::{Group, Uid, User, getgrouplist};

use super::{Account, DirectoryError};

/// An account with the names of its groups, the primary one too.
pub(super) struct Member {
    pub(super) account: Account,
    pub(super) groups: Vec<String>,
}

pub(super) fn by_name(name: &str) -> Result<Option<Member>, DirectoryError> {
    // What no account can be called is none; a NUL would end the name early.
    if name.is_empty() || name.contains('\0') {
        return Ok(None);
    }
    User::from_name(name).map_err(failed)?.map(member).transpose()
}

pub(super) fn by_uid(uid: u32) -> Result<Option<Member>, DirectoryError> {
    User::from_uid(Uid::from_raw(uid))
        .map_err(failed)?
        .map(member)
        .transpose()
}

fn member(user: User) -> Result<Member, DirectoryError> {
    let name = CString::new(user.name.as_str()).map_err(|_| DirectoryError::Accounts("a name with NUL".to_owned()))?;
    let mut groups = Vec::new();
    for gid in getgrouplist(&name, user.gid).map_err(failed)? {
        // A group without a name gives no role.
        if let Some(group) = Group::from_gid(gid).map_err(failed)? {
            groups.push(group.name);
        }
    }
    Ok(Member {
        account: Account {
            name: user.name,
            uid: user.uid.as_raw(),
        },
        groups,
    })
}

fn failed(error: nix::errno::Errno) -> DirectoryError {
    DirectoryError::Accounts(error.to_string())
}
