//! Tables that hold credentials, sessions, settings or an application's internal data. They are
//! recognised by their columns where possible, else by name.

use super::secrets::words;
use crate::source::TableInfo;

/// Schemas of extensions and platforms: identities, jobs, keys.
#[rustfmt::skip]
const SCHEMAS: &[&str] = &[
    "auth", "vault", "cron", "pgsodium", "pgsodium_masks", "supabase_functions",
    "supabase_migrations", "net", "realtime", "_realtime", "graphql", "graphql_public",
    "hdb_catalog", "pgboss", "graphile_worker", "keycloak", "_timescaledb_config",
    "_timescaledb_catalog", "_timescaledb_internal", "timescaledb_information", "pgagent",
    "drizzle",
];

/// Tables of well-known frameworks and applications. A name with a `_` also matches with any prefix
/// (`wp_`, `mdl_`, `oc_`).
#[rustfmt::skip]
const NAMES: &[&str] = &[
    // Django and its usual companions
    "auth_user", "auth_user_groups", "auth_user_user_permissions", "auth_group",
    "auth_group_permissions", "auth_permission", "authtoken_token", "django_session",
    "django_migrations", "django_content_type", "django_admin_log", "account_emailconfirmation",
    "axes_accesslog", "axes_accessattempt", "django_celery_results_taskresult",
    // Rails
    "schema_migrations", "ar_internal_metadata", "active_storage_blobs", "session_activations",
    "user_auth_tokens",
    // Laravel
    "migrations", "password_resets", "password_reset_tokens", "personal_access_tokens",
    "failed_jobs", "job_batches", "cache_locks", "telescope_entries", "telescope_entries_tags",
    "telescope_monitoring", "pulse_entries", "pulse_values", "pulse_aggregates",
    // Node and others
    "knex_migrations", "knex_migrations_lock", "SequelizeMeta", "_prisma_migrations",
    "flyway_schema_history", "alembic_version", "databasechangelog", "databasechangeloglock",
    "__EFMigrationsHistory", "__drizzle_migrations", "typeorm_metadata",
    "__diesel_schema_migrations", "_sqlx_migrations", "goose_db_version",
    "doctrine_migration_versions", "phinxlog", "sqlx_migrations", "refinery_schema_history",
    // Applications: Metabase, n8n, Airflow, Superset, Keycloak, Sentry, Supabase's storage,
    // MediaWiki, Nextcloud, ERPNext
    "metabase_database", "metabase_cluster_lock", "core_session", "audit_log_entries",
    "credentials_entity", "execution_data", "messenger_messages", "actionscheduler_actions", "actionscheduler_logs",
    "ab_user", "federated_identity", "identity_provider_config", "realm_smtp_config",
    "component_config", "broker_link", "sentry_identity", "sentry_authidentity",
    "sentry_authprovider", "storage.objects", "storage.buckets", "storage.s3_multipart_uploads",
    "storage.s3_multipart_uploads_parts", "bot_passwords", "objectcache", "oc_mounts", "__Auth",
    "tabSingles", "__global_search", "ir_config_parameter", "ir_cron", "ir_mail_server",
    "fetchmail_server", "auth_config", "single_sign_on_records", "oauth_openid",
    "plugin_store_rows",
];

/// How the names of such tables begin.
#[rustfmt::skip]
const BEGINNINGS: &[&str] = &[
    "oauth_", "oauth2_provider_", "socialaccount_", "otp_", "spatial_ref_sys", "pg_stat_statements",
    "strapi_", "qrtz_", "telescope_", "celery_", "django_celery_beat_", "directus_", "hypopg_",
];

/// The end of a column's name that holds a key or name next to a value.
#[rustfmt::skip]
const NAMED: &[&str] = &[
    "key", "name", "option", "setting", "param", "parameter", "variable", "var", "property",
    "attribute", "path", "field", "config", "code", "cle", "nom", "clave", "nombre", "chave",
    "schluessel", "schlüssel", "ключ", "键", "键名",
];
/// Names of columns for the value.
#[rustfmt::skip]
const VALUES: &[&str] = &[
    "value", "values", "val", "wert", "valeur", "valor", "valore", "waarde", "wartosc", "deger",
    "значение", "值", "値",
];
/// The end of a settings table's name, and the columns of its values if they are not named as in
/// `VALUES`.
#[rustfmt::skip]
const SETTINGS: &[&str] = &[
    "setting", "settings", "config", "configs", "configuration", "configurations", "option",
    "options", "preference", "preferences", "appconfig", "variable", "variables", "parameter",
    "parameters", "einstellungen", "parametres",
];
#[rustfmt::skip]
const OF_SETTINGS: &[&str] = &[
    "value", "val", "data", "json", "content", "payload", "serialized", "yaml", "blob",
];
/// Columns that may stand beside those two.
#[rustfmt::skip]
const BESIDE: &[&str] = &[
    "id", "autoload", "type", "scope", "plugin", "environment", "tag", "group", "flags",
    "namespace", "collection", "app", "appid", "domain", "category", "module", "section", "doctype",
    "parent", "user", "userid", "uid", "owner", "shop", "site", "store", "description", "comment",
    "label", "locale", "language", "lang", "created", "updated", "by", "add", "upd", "at", "on", "date", "serialized", "kind",
    "format", "class", "version", "environments", "context", "extra", "default", "defvalue",
    "resource", "service",
];

/// The end of a sessions table's name, and the columns of its data.
#[rustfmt::skip]
const SESSIONS: &[&str] = &[
    "session", "sessions",
];
#[rustfmt::skip]
const OF_SESSIONS: &[&str] = &[
    "data", "payload", "sess", "session", "session_data", "session_value", "session_key",
    "session_id", "sessionid", "sid", "token", "ip", "ip_address", "ipaddress", "user_agent",
    "useragent", "last_activity", "cookie", "session_ip", "value", "session_browser",
    "session_value",
];

/// The end of the name of a table for jobs, caches or logs, and the columns of its data.
#[rustfmt::skip]
const WORK: &[&str] = &[
    "job", "jobs", "queue", "queues", "queued", "outbox", "audit", "audits", "log", "logs",
    "logentry", "versions", "cache", "caches", "executions", "execution", "watchdog", "batch",
    "letters",
];
#[rustfmt::skip]
const OF_WORK: &[&str] = &[
    "payload", "args", "arguments", "argument", "extended_args", "handler", "serialized_params",
    "serialized_properties", "headers", "old_values", "new_values", "audited_changes", "object",
    "object_changes", "old_data", "new_data", "changes", "changed_data", "row_data", "request_body",
    "response_body", "request_headers", "response_headers", "command", "kwargs", "backtrace",
    "exception", "properties", "params", "parameters", "data", "last_error", "job_data",
    "variables", "context",
];

/// Why a table is known to hold what nobody should see.
pub(super) fn known(info: &TableInfo) -> Option<String> {
    let (schema, bare) = info.name.rsplit_once('.').unwrap_or(("", &info.name));
    let lower = bare.to_lowercase();
    let listed = |name: &str| {
        let prefixed = || name.contains('_') && lower.ends_with(&format!("_{name}"));
        bare == name || info.name == name || prefixed()
    };

    if NAMES.iter().any(|name| listed(name)) || BEGINNINGS.iter().any(|beginning| lower.starts_with(beginning)) {
        return Some("a framework's own table, of a kind that holds credentials, sessions or its housekeeping".into());
    }

    if SCHEMAS.contains(&schema) {
        return Some(format!("it is in `{schema}`, a schema of credentials or of housekeeping"));
    }

    if is_key_value(info) {
        return Some("its rows are names and values of all kinds, and may hold secrets".into());
    }

    let words = words(bare);
    let last = words.last().map_or("", String::as_str);
    let ends = |kinds: &[&str]| kinds.contains(&last);
    let cache = || words.iter().any(|word| word == "cache");
    let holds = |columns: &[&str]| {
        let mut names = info.columns.iter().map(|(name, _)| &**name);
        names.find(|name| !info.is_number(name) && columns.contains(&&*name.to_lowercase()))
    };

    if holds(OF_SETTINGS).is_some_and(|_| ends(SETTINGS)) {
        return Some("it holds settings, and secrets among them".into());
    }

    if let Some(column) = holds(OF_SESSIONS).filter(|_| ends(SESSIONS)) {
        return Some(format!("it looks like a table of sessions, by its column `{column}`"));
    }

    if let Some(column) = holds(OF_WORK).filter(|_| ends(WORK) || cache()) {
        return Some(format!("it looks like a queue, a cache or a log, of what its column `{column}` was given"));
    }

    None
}

/// Whether a table's rows are a name and a value each, and little else.
fn is_key_value(info: &TableInfo) -> bool {
    let of = |words: &[&str], name: &str| words.iter().any(|word| ends_in(&name.to_lowercase(), word));
    let texts: Vec<&str> = info.columns.iter().map(|(name, _)| &**name).filter(|name| !info.is_number(name)).collect();
    let Some(value) = texts.iter().rposition(|name| of(VALUES, name)) else { return false };

    let mut names = 0;
    for (_, name) in texts.iter().enumerate().filter(|(at, _)| *at != value) {
        if of(NAMED, name) {
            names += 1;
        } else if !of(BESIDE, name) && !of(VALUES, name) {
            // A table of things has columns that describe each one; a table of settings has only a
            // name and a value.
            return false;
        }
    }
    (1..=2).contains(&names)
}

/// Whether a name ends in a word, after a separator, a change of case (lower case by now) or other
/// letters: `option_value`, `configvalue`.
fn ends_in(name: &str, word: &str) -> bool {
    let rest = name.trim_end_matches(|c: char| c.is_ascii_digit()).strip_suffix(word);
    rest.is_some_and(|rest| {
        rest.is_empty() || !rest.ends_with(char::is_alphanumeric) || word.len() >= 4 || word == "key"
    })
}
