//! `access`, `require`, `scope`, `rls` and `hidden_unless` in `[resources.NAME]`

use serde_json::Value;

use super::read::Section;
use crate::resource::Access;

/// Who may read a resource, as its section says.
pub(super) fn access(section: &mut Section<'_, '_>) -> Access {
    let is_public = section.string("access").map(|text| match &*text {
        "public" => true,
        "authenticated" => false,
        _ => {
            let message = format!("there is no access `{}`", section.written("access"));
            section.complain("access", message, "write \"public\" or \"authenticated\"");
            false
        }
    });

    let mut access = if is_public == Some(false) { Access::authenticated() } else { Access::default() };
    if let Some(require) = section.section("require") {
        for (claim, values) in claims(require, &[]) {
            access = access.requiring(claim, values);
        }
    }

    if let Some(mut scope) = section.section("scope") {
        if scope.keys().is_empty() {
            let remedy = "write for instance scope = { organisation_id = \"org\" }, or take `scope` out";
            scope.complain("", "`scope` is empty, and would show everybody every row", remedy);
        }
        for column in scope.keys() {
            if let Some(claim) = scope.filled(&column, "name the claim whose value the column must have") {
                access = access.scoped(column, claim);
            }
        }
        scope.finish();
    }

    if let Some(rls) = section.section("rls") {
        access = row_security(access, rls);
    }

    if is_public == Some(true) && access.is_closed() {
        let remedy = "take `access` out, or what asks for a claim";
        section.complain("access", "a list with `require`, `scope` or `rls` is not for everybody", remedy);
    }

    for hidden in section.table_or_tables("hidden_unless").unwrap_or_default() {
        access = hide(access, hidden);
    }

    access
}

/// An entry of `hidden_unless`.
fn hide(access: Access, mut section: Section<'_, '_>) -> Access {
    const EXAMPLE: &str = "write for instance hidden_unless = { role = [\"admin\"], fields = [\"email\"] }";
    let fields = section.strings("fields").unwrap_or_default();
    if fields.is_empty() {
        section.complain("fields", "`hidden_unless` names no fields", EXAMPLE);
    }

    let is_bare = section.keys().iter().all(|key| key == "fields");
    if is_bare {
        section.complain("", "`hidden_unless` names no claim", EXAMPLE);
    }

    access.hiding_unless(fields, claims(section, &["fields"]))
}

/// The claims of a table, each with the values of which it must have one.
fn claims(mut section: Section<'_, '_>, but: &[&str]) -> Vec<(String, Vec<Value>)> {
    let mut claims = vec![];
    for claim in section.keys() {
        if but.contains(&&*claim) {
            continue;
        }
        if let Some(values) = section.scalars(&claim) {
            if values.is_empty() {
                section.complain(
                    &claim,
                    format!("`{claim}` names no value, and nobody could meet it"),
                    "name the values",
                );
            }
            claims.push((claim, values));
        }
    }

    section.finish();
    claims
}

/// `rls`: how PostgreSQL's row-level security learns who reads.
fn row_security(mut access: Access, mut section: Section<'_, '_>) -> Access {
    let roles = section.strings("roles").unwrap_or_default();
    if let Some(role) = section.filled("role", "write role = \"claim:db_role\", with the claim that names the role") {
        match role.strip_prefix("claim:").filter(|claim| !claim.is_empty()) {
            None => section.complain(
                "role",
                "`role` names no claim",
                "write role = \"claim:db_role\"; a role for everybody is `role` in [databases]",
            ),
            Some(_) if roles.is_empty() => section.complain(
                "role",
                "any role could be claimed",
                "name those that may read: roles = [\"reader\", \"partner\"]",
            ),
            Some(claim) => access = access.as_role(claim, roles),
        }
    } else if section.has("roles") {
        section.complain("roles", "`roles` stands without `role`", "write role = \"claim:db_role\" beside it");
    }

    if let Some(mut settings) = section.section("set") {
        for setting in settings.keys() {
            if let Some(claim) = settings.filled(&setting, "name the claim whose value the setting has") {
                access = access.with_setting(setting, claim);
            }
        }
        settings.finish();
    }

    if !access.has_row_security() {
        let remedy = "write rls = { role = \"claim:db_role\", roles = [\"reader\"] } or rls = { set = { \"request.org\" = \"org\" } }";
        section.complain("", "`rls` tells the database nothing of who reads", remedy);
    }

    section.finish();
    access
}
