//! What well-known applications keep from others is not served unasked, and all else is.
//!
//! Small schemas of the same shape as theirs, written for these tests: what matters is how tables
//! and columns are called, and which stand together.

use crate::{
    servers::{Db, every_kind, mariadb, postgres, sqlite},
    support::{Process, binary},
};

/// Tables that must be left out, each as its columns behind the key `id`. A `#` before a column
/// makes it a number.
const LEFT_OUT: &[(&str, &str)] = &[
    // WordPress, under a prefix of its owner's
    ("blog_users", "user_login user_pass user_nicename user_email user_activation_key #user_status"),
    ("blog_usermeta", "#user_id meta_key meta_value"),
    ("blog_options", "option_name option_value autoload"),
    ("blog_postmeta", "#post_id meta_key meta_value"),
    ("blog_woocommerce_sessions", "session_key session_value #session_expiry"),
    ("blog_woocommerce_api_keys", "#user_id description consumer_key consumer_secret"),
    // OpenStreetMap, Drupal, Joomla, Moodle, Magento
    ("users", "email pass_crypt display_name description pass_salt"),
    ("oauth_access_grants", "#resource_owner_id code redirect_uri"),
    ("dr_users_field_data", "langcode name pass mail timezone"),
    ("dr_key_value", "collection name value"),
    ("dr_config", "collection name data"),
    ("dr_sessions", "sid hostname session"),
    ("dr_cache_page", "cid data tags"),
    ("dr_watchdog", "type message variables location"),
    ("jos_session", "session_id data username"),
    ("jos_user_profiles", "#user_id profile_key profile_value #ordering"),
    ("mdl_user", "auth username password firstname secret"),
    ("mdl_config_plugins", "plugin name value"),
    ("mdl_user_preferences", "#userid name value"),
    ("admin_user", "firstname lastname email username password rp_token"),
    ("customer_entity", "email firstname password_hash rp_token"),
    ("core_config_data", "scope #scope_id path value"),
    // Metabase, Strapi, n8n, cal.com, Telescope
    ("core_user", "email first_name password password_salt reset_token"),
    ("metabase_database", "name engine details"),
    ("setting", "key value"),
    ("strapi_core_store_settings", "key value type environment tag"),
    ("up_users", "username email password reset_password_token"),
    ("credentials_entity", "name data type"),
    ("execution_entity", "status workflowData customData session_token"),
    ("AppCredential", "type key #userId"),
    ("UserPassword", "hash #userId"),
    ("VerificationToken", "identifier value"),
    ("TwoFactorUser", "email twoFactorSecret backupCodes"),
    ("App", "slug dirName keys"),
    ("telescope_entries", "batch_id family_hash type content"),
    // Laravel, Rails, Django, GitLab, Mastodon, Discourse
    ("failed_jobs", "connection queue payload exception"),
    ("jobs", "queue payload #attempts"),
    ("sessions", "ip_address user_agent payload #last_activity"),
    ("cache", "key value #expiration"),
    ("delayed_jobs", "handler last_error queue"),
    ("audits", "auditable_type action audited_changes"),
    ("versions", "item_type event whodunnit object"),
    ("django_session", "session_key session_data expire_date"),
    ("authtoken_token", "key created"),
    ("ci_variables", "key encrypted_value environment_scope"),
    ("session_activations", "session_id user_agent ip"),
    ("user_auth_tokens", "auth_token prev_auth_token client_ip"),
    ("site_settings", "name #data_type value"),
    // Keycloak, Odoo, ERPNext, Shopware, PrestaShop, MediaWiki, phpBB, Nextcloud, Ghost, Airflow,
    // Superset, Grafana, Sentry
    ("credential", "salt type secret_data credential_data"),
    ("client", "client_id name secret"),
    ("realm_attribute", "name realm_id value"),
    ("ir_config_parameter", "key value"),
    ("res_users", "login password #active"),
    ("tabSingles", "doctype field value"),
    ("system_config", "configuration_key configuration_value sales_channel_id"),
    ("ps_configuration", "name value date_add"),
    ("ps_employee", "lastname firstname email passwd"),
    ("user_properties", "up_property up_value"),
    ("phpbb_config", "config_name config_value #is_dynamic"),
    ("phpbb_users", "username user_password user_actkey"),
    ("oc_appconfig", "appid configkey configvalue"),
    ("oc_preferences", "userid appid configkey configvalue"),
    ("oc_authtoken", "uid login_name token private_key"),
    ("settings", "group key value type flags"),
    ("api_keys", "type secret"),
    ("variable", "key val description"),
    ("connection", "conn_id host login password extra"),
    ("dbs", "database_name sqlalchemy_uri"),
    ("data_source", "name url basic_auth_password secure_json_data"),
    ("sentry_authenticator", "#user_id type config"),
    ("sentry_projectoptions", "#project_id key value"),
    // Applications of nobody's, in other languages
    ("benutzer", "vorname nachname kennwort"),
    ("utilisateurs", "nom prenom mot_de_passe"),
    ("usuarios", "nombre correo contrasena"),
    ("clientes", "nome email senha"),
    ("uzytkownicy", "imie nazwisko haslo"),
    ("gebruikers", "naam wachtwoord"),
    ("people", "name sifre"),
    ("accounts", "name hash"),
    ("cards", "holder card_number cvv"),
    ("patients", "name ssn"),
    ("licenses", "product licenseKey"),
    ("wallets", "owner seed_phrase"),
    ("doors", "name pin"),
    ("forums", "name security_question security_answer"),
];

/// Tables that must be served.
const SERVED: &[(&str, &str)] = &[
    ("blog_posts", "post_title post_content post_status #comment_count"),
    ("blog_terms", "name slug"),
    ("token_buckets", "name #token_count #tokens_used"),
    ("usage_of_models", "model #prompt_tokens #completion_tokens #max_tokens #token_limit"),
    ("addresses", "street pin_code city"),
    ("flights", "passenger boarding_pass compass"),
    ("people_of_note", "name password_changed_at #mfa_enabled"),
    ("soups", "name #salt_level #salt"),
    ("talks", "title room session_name"),
    ("conference_sessions", "title room speaker"),
    ("job_postings", "title company description"),
    ("keyboards", "author authority secretary pinned spin"),
    ("products", "name sort_key product_key"),
    ("commits", "hash message author"),
    ("readings", "sensor #value"),
    ("pages", "name content"),
    ("exams", "title #pass #pass_rate"),
    ("coins", "name symbol #total_tokens #supply"),
    ("documents", "title body"),
    ("catalogs", "title cover"),
];

/// A table as all databases understand it, in quotes.
fn table(name: &str, columns: &str) -> String {
    let column = |column: &str| match column.strip_prefix('#') {
        Some(number) => format!(", \"{number}\" INTEGER"),
        None => format!(", \"{column}\" VARCHAR(200)"),
    };
    let columns: String = columns.split_whitespace().map(column).collect();
    format!("CREATE TABLE \"{name}\" (id INTEGER PRIMARY KEY{columns});")
}

fn execute(db: &Db, sql: &str) {
    let quotes = if db.name() == "mariadb" { "SET sql_mode = 'ANSI_QUOTES';" } else { "" };
    db.execute(&format!("{quotes}{sql}"));
}

/// The whole text that `init` prints, the tables that would be served, and those left out with why.
type Printed = (String, Vec<String>, Vec<(String, String)>);

/// What `init` prints.
fn init(db: &Db) -> Printed {
    let folder = tempfile::TempDir::new().unwrap();
    let output = binary(&["init", &db.url()], folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let served =
        text.lines().filter_map(|line| Some(line.strip_prefix("table = \"")?.trim_end_matches('"').to_owned()));
    let left = text.lines().filter_map(|line| {
        let (name, why) =
            line.strip_prefix("# Table \"").or(line.strip_prefix("# View \""))?.split_once("\" is left out: ")?;
        Some((name.to_owned(), why.to_owned()))
    });
    (text.clone(), served.collect(), left.collect())
}

#[test]
fn tables_of_well_known_applications_that_hold_secrets_are_left_out_and_others_are_served() {
    for db in every_kind() {
        let all = LEFT_OUT.iter().chain(SERVED);
        execute(&db, &all.map(|(name, columns)| table(name, columns)).collect::<String>());
        let (text, served, left) = init(&db);
        let kind = db.name();
        let wrong: Vec<&str> = LEFT_OUT
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| served.iter().any(|other| other == name) || !left.iter().any(|(other, _)| other == name))
            .collect();
        assert!(wrong.is_empty(), "{kind} serves {wrong:?}");
        for (name, _) in SERVED {
            let why = left.iter().find(|(other, _)| other == name);
            assert!(served.iter().any(|other| other == name), "{kind} leaves out {name}: {why:?}");
        }
        // What is written down for a table that is left out serves it without what is secret.
        assert!(
            text.contains("# [resources.users.fields]\n# id = \"id\"\n# email = \"email\"\n# display_name = "),
            "{text}"
        );
    }
}

#[test]
fn the_log_says_how_to_serve_what_is_left_out_and_what_it_says_works() {
    for db in every_kind() {
        execute(&db, &table("members", "name encrypted_password"));
        execute(&db, &table("open", "name"));
        let folder = tempfile::TempDir::new().unwrap();
        let mut child = binary(&["serve", &db.url()], folder.path());
        let child = child.env("CHUNKFLOW_LISTEN", "127.0.0.1:0").stderr(std::process::Stdio::piped());
        let mut child = child.spawn().unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
        let line = lines.map_while(Result::ok).find(|line| line.contains("left out `members`")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.contains("name the fields that may be seen"), "{line}");
        let (_, toml) = line.split_once("a configuration serves it: ").unwrap();
        let text = format!("{toml}\n[databases]\nmain = \"{}\"\n", db.url());
        let server = crate::support::Running::config(&text);
        execute(&db, "INSERT INTO members VALUES (1, 'a', 's3cret')");
        let body = String::from_utf8(server.get("/members").body).unwrap();
        assert!(body.contains("\"name\":\"a\"") && !body.contains("s3cret"), "{body}");
    }
}

#[test]
fn related_rows_are_never_taken_from_what_is_left_out_and_people_are_called_by_their_names() {
    for db in every_kind() {
        execute(
            &db,
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(20), pass_crypt VARCHAR(20));
             CREATE TABLE person (id INTEGER PRIMARY KEY, email VARCHAR(20), username VARCHAR(20), first_name VARCHAR(20));
             CREATE TABLE tokens (id INTEGER PRIMARY KEY, value VARCHAR(20), note INTEGER);
             CREATE TABLE note (id INTEGER PRIMARY KEY, text VARCHAR(20), owner INTEGER, author INTEGER,
                FOREIGN KEY (owner) REFERENCES users (id), FOREIGN KEY (author) REFERENCES person (id));
             CREATE TABLE user_note (user_id INTEGER NOT NULL, note_id INTEGER NOT NULL, PRIMARY KEY (user_id, note_id),
                FOREIGN KEY (user_id) REFERENCES users (id), FOREIGN KEY (note_id) REFERENCES note (id));",
        );
        let (text, ..) = init(&db);
        let note = text.split("[resources.note.fields]").nth(1).unwrap().split("\n\n").next().unwrap();
        assert!(note.contains("columns = [\"id\", \"first_name\"]"), "{}: {text}", db.name());
        assert!(!note.contains("pass_crypt") && !note.contains("\"users\"") && !note.contains("tokens"), "{note}");
    }
}

/// Views, with what they are over: left out, or served.
fn views(db: &Db, sql: &str, left_out: &[&str], served_views: &[&str]) {
    execute(
        db,
        "CREATE TABLE members (id INTEGER PRIMARY KEY, name VARCHAR(20), encrypted_password VARCHAR(20));
         CREATE TABLE options (id INTEGER PRIMARY KEY, option_name VARCHAR(20), option_value VARCHAR(20));
         CREATE TABLE city (id INTEGER PRIMARY KEY, name VARCHAR(20));",
    );

    execute(db, sql);
    let (text, _, left) = init(db);
    for name in left_out {
        let why = left.iter().find(|(other, _)| other == name).map_or("served", |(_, why)| why);
        assert!(!why.contains("no key") && why != "served", "{} {name}: {why}\n{text}", db.name());
    }

    for name in served_views {
        // Only for want of a key, which views do not have.
        let why = left.iter().find(|(other, _)| other == name).map_or("no key", |(_, why)| why);
        assert!(why.contains("no key"), "{} {name}: {why}", db.name());
    }
}

/// What every database takes.
const VIEWS: &str = "
    CREATE VIEW renamed AS SELECT id, encrypted_password AS info FROM members;
    CREATE VIEW made AS SELECT id, UPPER(encrypted_password) AS info FROM members;
    CREATE VIEW over_renamed AS SELECT id, info AS more FROM renamed;
    CREATE VIEW asked AS SELECT id, name FROM members WHERE encrypted_password LIKE 'a%';
    CREATE VIEW below AS SELECT c.id, (SELECT MAX(m.encrypted_password) FROM members m WHERE m.id = c.id) AS info FROM city c;
    CREATE VIEW both_of AS SELECT c.id, m.encrypted_password AS info FROM city c JOIN members m ON m.id = c.id;
    CREATE VIEW either AS SELECT id, name AS info FROM city UNION ALL SELECT id, encrypted_password FROM members;
    CREATE VIEW of_options AS SELECT id, option_value AS info FROM options;
    CREATE VIEW of_options_too AS SELECT id FROM options;
    CREATE VIEW every_one AS SELECT * FROM members;
    CREATE VIEW public_members AS SELECT id, name FROM members;
    CREATE VIEW cities AS SELECT id, name FROM city;
    CREATE VIEW over_cities AS SELECT id, name AS called FROM cities;
    CREATE VIEW members_of_cities AS SELECT c.id, m.name FROM city c JOIN members m ON m.id = c.id;
";
const LEFT_OUT_VIEWS: &[&str] = &[
    "renamed",
    "made",
    "over_renamed",
    "asked",
    "below",
    "both_of",
    "either",
    "of_options",
    "of_options_too",
    "every_one",
];
const SERVED_VIEWS: &[&str] = &["public_members", "cities", "over_cities", "members_of_cities"];

#[test]
fn views_over_what_is_left_out_are_left_out_whatever_they_call_it() {
    for db in every_kind() {
        views(&db, VIEWS, LEFT_OUT_VIEWS, SERVED_VIEWS);
    }
}

#[test]
fn views_of_postgresql_are_followed_through_rows_functions_and_what_nobody_may_read() {
    let db = postgres();
    views(
        &db,
        "CREATE SCHEMA auth; CREATE TABLE auth.people (id int PRIMARY KEY, name text);
         CREATE SCHEMA cron; CREATE TABLE cron.job (id int PRIMARY KEY, command text);
         CREATE FUNCTION peek(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT encrypted_password FROM members WHERE id = $1';
         CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
         CREATE VIEW whole AS SELECT m.id, to_jsonb(m) AS info FROM members m;
         CREATE VIEW called AS SELECT id, peek(id) AS info FROM city;
         CREATE VIEW dumped AS SELECT id, query_to_xml('select * from members', true, false, '') AS info FROM city;
         CREATE VIEW roles AS SELECT oid::int AS id, rolpassword AS info FROM pg_authid;
         CREATE VIEW of_auth AS SELECT id, name AS info FROM auth.people;
         CREATE VIEW doubled AS SELECT id, twice(id) AS info, upper(name) AS name FROM city;
         CREATE MATERIALIZED VIEW kept AS SELECT id, encrypted_password AS info FROM members; CREATE UNIQUE INDEX ON kept (id);
         CREATE MATERIALIZED VIEW kept_too AS SELECT id, info AS more FROM kept; CREATE UNIQUE INDEX ON kept_too (id);
         CREATE MATERIALIZED VIEW shown AS SELECT id, name FROM members; CREATE UNIQUE INDEX ON shown (id);",
        &["whole", "called", "dumped", "roles", "of_auth", "kept", "kept_too", "auth.people", "cron.job"],
        &["doubled", "shown"],
    );

    let folder = tempfile::TempDir::new().unwrap();
    let server = Process::serve(&["serve", &db.url()], folder.path());
    for (list, status) in
        [("shown", 200), ("kept", 404), ("kept_too", 404), ("city", 200), ("members", 404), ("cron.job", 404)]
    {
        assert_eq!(server.get(&format!("/{list}")).status, status, "{list}");
    }
}

#[test]
fn a_view_over_a_table_that_this_user_may_not_read_is_judged_by_its_names() {
    let db = postgres();
    db.execute(
        "CREATE SCHEMA hidden; CREATE TABLE hidden.members (id int PRIMARY KEY, name text, encrypted_password text);
         CREATE TABLE hidden.usermeta (id int PRIMARY KEY, meta_key text);
         CREATE VIEW renamed AS SELECT id, encrypted_password AS info FROM hidden.members;
         CREATE VIEW named AS SELECT id, name FROM hidden.members;",
    );

    let role = format!("peeker_{}", std::process::id());
    db.execute(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON renamed, named TO {role};"));
    let folder = tempfile::TempDir::new().unwrap();
    let url = db.url().replace("chunkflow@", &format!("{role}@"));
    let output = binary(&["init", &url], folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let why =
        |view: &str| text.lines().find(|line| line.contains(&format!("\"{view}\" is left out"))).unwrap().to_owned();
    assert!(
        why("renamed").contains("`encrypted_password` of `hidden.members`") && why("named").contains("no key"),
        "{text}"
    );
}

#[test]
fn views_of_mariadb_and_sqlite_are_followed_through_functions_and_the_system() {
    views(
        &mariadb(),
        "CREATE FUNCTION peek(n INT) RETURNS VARCHAR(20) READS SQL DATA RETURN (SELECT encrypted_password FROM members WHERE id = n);
         CREATE VIEW called AS SELECT id, peek(id) AS info FROM city;
         CREATE VIEW within AS WITH x AS (SELECT id, encrypted_password AS p FROM members) SELECT id, p AS info FROM x;
         CREATE VIEW said AS SELECT id, 'encrypted_password' AS info FROM city;",
        &["called", "within"],
        &["said"],
    );

    views(
        &sqlite(),
        "CREATE VIEW schema_of AS SELECT rowid AS id, sql AS info FROM sqlite_master;
         CREATE VIEW within AS WITH x AS (SELECT id, encrypted_password AS p FROM members) SELECT id, p AS info FROM x;
         CREATE VIEW broken AS SELECT id FROM gone;
         CREATE VIEW said AS SELECT id, 'encrypted_password' AS info FROM city;",
        &["schema_of", "within", "broken"],
        &["said"],
    );
}
