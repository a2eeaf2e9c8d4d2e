//! A token of the inventory finds its person, and a device tells its serial number: the two changes of a personal row.

use sqlx::Row;

use super::apply::{Apply, Outcome};
use super::rows;
use crate::ledger::journal::{self, Recorded, hex};
use crate::ledger::{LedgerError, Personal};
use crate::types::{TokenId, TokenState};

impl Apply<'_> {
    pub(super) async fn assign(&mut self, token: TokenId, subject: String) -> Outcome {
        self.require(token, &[TokenState::Inventory]).await?;
        let (salt, mut personal) = self.personal(token).await?;
        personal.subject = Some(subject);
        let query = sqlx::query("UPDATE personal SET subject = ? WHERE token = ?");
        let query = query.bind(&personal.subject).bind(token.to_string());
        self.one(query, token, "personal data").await?;
        let query = sqlx::query("UPDATE tokens SET state = ?, updated = ? WHERE id = ?")
            .bind(TokenState::Pending.as_str())
            .bind(self.at.0)
            .bind(token.to_string());
        self.one(query, token, "state").await?;
        // The salt stays: what the journal holds of the token's serial is over it, too.
        let personal = hex(&journal::personal_tag(self.keys, &salt, &personal)?);
        Ok(Recorded::Assign { token, personal })
    }
    pub(super) async fn serial(&mut self, token: TokenId, serial: String) -> Outcome {
        self.require(token, &[TokenState::Pending]).await?;
        let (salt, mut personal) = self.personal(token).await?;
        personal.serial = Some(serial);
        let query = sqlx::query("UPDATE personal SET serial = ? WHERE token = ?");
        let query = query.bind(&personal.serial).bind(token.to_string());
        self.one(query, token, "personal data").await?;
        let query = sqlx::query("UPDATE tokens SET updated = ? WHERE id = ?");
        let query = query.bind(self.at.0).bind(token.to_string());
        self.one(query, token, "token").await?;
        let personal = hex(&journal::personal_tag(self.keys, &salt, &personal)?);
        Ok(Recorded::Serial { token, personal })
    }

    /// The personal row of a token, and its salt.
    async fn personal(&mut self, token: TokenId) -> Result<(Vec<u8>, Personal), LedgerError> {
        let query = sqlx::query("SELECT token AS id, subject, serial, label, salt FROM personal WHERE token = ?");
        let row = query.bind(token.to_string()).fetch_optional(&mut *self.conn).await;
        let row = row.map_err(|error| self.place.fault(&error))?;
        let row = row.ok_or_else(|| LedgerError::Damaged(format!("token {token}: no personal row")))?;
        let salt: Vec<u8> = row.try_get("salt").map_err(|error| self.place.fault(&error))?;
        Ok((salt, rows::personal(&row, self.place)?))
    }
}
