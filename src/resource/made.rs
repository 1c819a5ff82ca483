//! Resources over tables: how one is made, and made again when its table changes.

use std::sync::{Arc, atomic::Ordering};

use super::{LookUps, Resource, ResourceOptions, behind::Behind};
use crate::{
    error::{Error, Kind, Result},
    source::{BoxFuture, Complaint, Database, Spec, discreet},
};

/// Makes a resource again after its table has changed.
pub(crate) type Remake = Arc<dyn Fn() -> BoxFuture<'static, Result<Resource>> + Send + Sync>;

impl Resource {
    /// The resource named `name`, from a specification for a database. When its table changes, it
    /// is made again from the table as it is then. `options` are its options, except for the
    /// fields.
    ///
    /// # Errors
    /// *Everything* that is wrong with the specification.
    pub async fn of(
        name: &str,
        database: &Arc<dyn Database>,
        spec: &Spec,
        options: &ResourceOptions,
    ) -> Result<Resource, Vec<Complaint>> {
        let spec = &spec.clone().with(|spec| {
            let columns = options.access.scope_columns().map(str::to_owned);
            let missing: Vec<String> = columns.filter(|column| !spec.scope.contains(column)).collect();
            spec.scope.extend(missing);
            spec.has_row_security |= options.access.has_row_security();
        });
        let (source, fields) = database.source(spec).await?;
        let source = if spec.is_discreet { discreet(source) } else { source };
        let fields = match spec.fields {
            Some(_) => fields,
            None => fields.into_iter().map(|(name, field)| (options.case.of(&name), field)).collect(),
        };
        let made = Resource::over(name, source, ResourceOptions { fields: Some(fields), ..options.clone() });
        let resource =
            made.map_err(|error| vec![Complaint::new("", error.message(), error.advice().unwrap_or_default())])?;

        let recipe = Recipe {
            name: name.to_owned(),
            database: Arc::clone(database),
            spec: spec.clone(),
            options: options.clone(),
        };

        let recipe = Arc::new(recipe);
        let resource = resource.made_again_by(Arc::new(move || remade(Arc::clone(&recipe))));
        let rules = resource.source.touch_rules();
        let look_ups = rules.map(|rules| LookUps::new(database, spec, &*resource.source, rules));
        let behind = Behind::of_spec(spec).unwrap_or(resource.behind);
        let resource = Resource { look_ups: look_ups.map(Arc::new), behind, ..resource };
        if !resource.source.presence().is_known {
            // It is made again, and checked, once its source is known.
            resource.note_outdated();
            return Ok(resource);
        }

        let unguarded = resource.unguarded();
        if unguarded.is_empty() { Ok(resource) } else { Err(unguarded) }
    }

    /// The same resource. [`Chunkflow`](crate::Chunkflow) makes it again by `remake` after a read
    /// has failed with [`Kind::Schema`].
    #[must_use]
    pub fn made_again_by(self, remake: Remake) -> Resource {
        Resource { remake: Some(remake), ..self }
    }

    /// Makes it again, if that is possible.
    pub(crate) fn remake(&self) -> Option<&Remake> {
        self.remake.as_ref()
    }

    /// Notes that a read has found the table changed.
    pub(crate) fn note_outdated(&self) {
        self.outdated.store(self.remake.is_some(), Ordering::Relaxed);
    }

    /// Whether it must be made again.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }
}

/// What a resource over a table is made from.
struct Recipe {
    name: String,
    database: Arc<dyn Database>,
    spec: Spec,
    options: ResourceOptions,
}

/// Looks at the database again, and makes the resource from what is there.
fn remade(recipe: Arc<Recipe>) -> BoxFuture<'static, Result<Resource>> {
    Box::pin(async move {
        let Recipe { name, database, spec, options } = &*recipe;
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
