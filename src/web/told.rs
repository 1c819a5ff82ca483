//! What programs and operators tell: which rows have changed, and which are to be forgotten.

use super::{Chunkflow, is_known};
use crate::{
    change::{self, Change, Purge, Tell, Token},
    error::{Error, Kind, Result},
    loader,
    resource::Resource,
    source::Condition,
};

impl Chunkflow {
    /// Forgets the chunks of a resource on every server that shares the store: here at once,
    /// elsewhere within two seconds. A stream that begins after that holds no row that was read
    /// before.
    ///
    /// # Errors
    /// When the store fails; the chunks may then still be there. [`Kind::Unavailable`] while the
    /// resource's definition is unknown, since its database has been away.
    pub async fn purge(&self, resource: &Resource) -> Result<()> {
        is_known(resource)?;
        let digest = resource.digest();
        let mut digests = vec![digest];

        // A resource with a name here is purged in all its orders.
        if let Some(slot) = self.slot(resource.name()) {
            let all: Vec<[u8; 16]> = slot.in_all_orders().map(|slot| slot.now().digest()).collect();
            if all.contains(&digest) {
                digests.extend(all.into_iter().filter(|one| *one != digest));
            }
        }

        futures_util::future::try_join_all(digests.iter().map(|digest| self.0.loader.forget(digest))).await?;
        Ok(())
    }

    /// The same for the rows that meet these conditions, as the parameters of a request:
    /// `[("organisation_id", "eq.1")]`, also on columns of its scope. The whole lists with these
    /// conditions are forgotten, alone or beside others, and the chunks of all other lists that hold
    /// one of the rows or where one belongs now. Without conditions, or with more than 10,000 rows, all
    /// is forgotten.
    ///
    /// # Errors
    /// As [`Chunkflow::purge`]; [`Kind::Invalid`] for a condition that requests may not have.
    pub async fn purge_where(&self, resource: &Resource, conditions: &[(&str, &str)]) -> Result<()> {
        if conditions.is_empty() {
            return self.purge(resource).await;
        }

        is_known(resource)?;
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let purge = Purge { resource: resource.name().into(), conditions: conditions.iter().map(pair).collect() };
        Condition::of_purge(&purge.conditions, &**resource.source())?;
        change::entry::check_purge(&purge)?;

        let tell = Tell { changes: vec![], purges: vec![purge] };
        self.0.loader.tell(tell, &self.resources_in_all_orders()).await.map(drop)
    }

    /// Tells that rows have changed. No list that begins here after that shows one of these rows as
    /// it was; on other servers that share the store none does after two seconds, or at once with
    /// the token that this returns.
    ///
    /// # Errors
    /// [`Kind::Missing`] if there is no such resource; the store's error if the changes cannot be
    /// told to the other servers. They must then be told again. [`Kind::Unavailable`] if they are
    /// told, and a standby does not show a commit within two seconds whose position is known
    /// ([`Change::at`]).
    pub async fn changed(&self, changes: &[Change]) -> Result<Token> {
        let token = self.tell(changes).await?;
        self.until_shown(changes).await?;
        Ok(token)
    }

    /// Waits until the databases that are read show the commits of these changes, which were told.
    pub(crate) async fn until_shown(&self, changes: &[Change]) -> Result<()> {
        self.0.loader.until_shown(changes).await
    }

    /// Tells changes, whether the databases show their commits or not.
    pub(crate) async fn tell(&self, changes: &[Change]) -> Result<Token> {
        for change in changes {
            let resource = self
                .resource(&change.resource)
                .ok_or_else(|| Error::new(Kind::Missing, format!("there is no resource `{}`", change.resource)))?;
            is_known(&resource)?;
            loader::check(change, &resource)?;
        }

        self.0.loader.tell(Tell::of(changes), &self.resources_in_all_orders()).await
    }
}
