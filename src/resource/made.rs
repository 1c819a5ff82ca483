//! A resource over a table: how it is made, and made again once the table is another.

use std::sync::{Arc, atomic::Ordering};

use super::{Resource, ResourceOptions};
use crate::{
    error::{Error, Kind, Result},
    source::{BoxFuture, Complaint, Database, Spec, discreet},
};

/// How a resource is made again, when its table is not any more what it was.
pub(crate) type Remake = Arc<dyn Fn() -> BoxFuture<'static, Result<Resource>> + Send + Sync>;

impl Resource {
    /// The resource called `name` over what `spec` asks of a database. When its table changes it is
    /// made again, of what is there then; `options` are its options, but for the fields.
    ///
    /// # Errors
    /// *Everything* that is wrong with it.
    pub async fn of(
        name: &str,
        database: &Arc<dyn Database>,
        spec: &Spec,
        options: &ResourceOptions,
    ) -> Result<Resource, Vec<Complaint>> {
        let (source, fields) = database.source(spec).await?;
        let source = if spec.is_discreet { discreet(source) } else { source };
        let made = Resource::new(name, source, ResourceOptions { fields: Some(fields), ..options.clone() });
        let resource =
            made.map_err(|error| vec![Complaint::new("", error.message(), error.advice().unwrap_or_default())])?;

        let parts = Parts {
            name: name.to_owned(),
            database: Arc::clone(database),
            spec: spec.clone(),
            options: options.clone(),
        };

        let parts = Arc::new(parts);
        let resource = resource.made_again_by(Arc::new(move || remade(Arc::clone(&parts))));
        if !resource.source.presence().is_known {
            resource.note_outdated();
        }

        Ok(resource)
    }

    /// The same resource, which [`Chunkflow`](crate::Chunkflow) makes again by `remake` once a read
    /// has failed with [`Kind::Schema`].
    #[must_use]
    pub fn made_again_by(self, remake: Remake) -> Resource {
        Resource { remake: Some(remake), ..self }
    }

    /// How it is made again.
    pub(crate) fn remake(&self) -> Option<&Remake> {
        self.remake.as_ref()
    }

    /// Takes note that a read has found another table than the one it was made of.
    pub(crate) fn note_outdated(&self) {
        self.outdated.store(self.remake.is_some(), Ordering::Relaxed);
    }

    /// Whether it is to be made again.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }
}

/// What a resource over a table is made of.
struct Parts {
    name: String,
    database: Arc<dyn Database>,
    spec: Spec,
    options: ResourceOptions,
}

/// Looks at the database again, and makes the resource of what is there.
fn remade(parts: Arc<Parts>) -> BoxFuture<'static, Result<Resource>> {
    Box::pin(async move {
        let Parts { name, database, spec, options } = &*parts;
        database.look_again().await?;
        Resource::of(name, database, spec, options).await.map_err(|mut complaints| {
            if spec.is_discreet {
                complaints.iter_mut().for_each(Complaint::withhold);
            }
            let told: Vec<String> = complaints.iter().map(|one| format!("{} ({})", one.message, one.remedy)).collect();
            Error::new(Kind::Schema, told.join("; "))
        })
    })
}
