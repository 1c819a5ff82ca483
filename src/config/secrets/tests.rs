//! Names of columns and tables, from applications and from a generator.

use std::sync::LazyLock;

use proptest::{prelude::*, sample::select};

use super::*;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::new);

/// Names of secrets, from applications.
const SECRET: &[&str] = &[
    "pwd",
    "pass",
    "passphrase",
    "pin",
    "cvv",
    "CVV2",
    "cvc",
    "ssn",
    "salt",
    "cookie",
    "privateKey",
    "accessKey",
    "encryption_key",
    "recovery_codes",
    "session_key",
    "passwort",
    "mot_de_passe",
    "senha",
    "contraseña",
    "contrasena",
    "Contrasenia",
    "hasło",
    "haslo",
    "wachtwoord",
    "пароль",
    "parol",
    "密码",
    "登录密码",
    "ログインパスワード",
    "비밀번호",
    "şifre",
    "sifre",
    "user_pass",
    "pass_crypt",
    "pass_salt",
    "encrypted_password",
    "passwordHash",
    "password_hint",
    "PASSWORD",
    "userPassword2",
    "hashedPassword",
    "bearer_token",
    "jwt",
    "refreshToken",
    "csrf_token",
    "webhook_secret",
    "licenseKey",
    "seed_phrase",
    "security_answer",
    "secretQuestion",
    "api_key",
    "APIKey",
    "apikey",
    "auth_key",
    "client_secret",
    "clientsecret",
    "otp",
    "totp_secret",
    "mfaSecret",
    "2fa_secret",
    "two_factor_recovery_codes",
    "backupCodes",
    "remember_token",
    "user_activation_key",
    "reset_digest",
    "sessionid",
    "session_id",
    "sessionToken",
    "rp_token",
    "clé_privée",
    "clave_privada",
    "chiave_privata",
    "privater_schluessel",
    "klucz_prywatny",
    "приватный_ключ",
    "секретный_ключ",
    "gizli_anahtar",
    "signing_key",
    "private_key_pem",
    "MotDePasse",
    "mdp",
    "kennwort",
    "lösenord",
    "adgangskode",
    "heslo",
    "jelszó",
    "mật_khẩu",
    "kata_sandi",
    "סיסמה",
    "كلمة_المرور",
    "รหัสผ่าน",
    "card_number",
    "iban",
    "connection_string",
    "sqlalchemy_uri",
    "credentials",
    "token_hash",
    "secretKey",
    "keys",
    "p256dh",
    "smtp_pass",
    "dbpass",
    "pw",
    "pwhash_pwd",
    "PassWord",
    "pass-word",
    "ｐａｓｓｗｏｒｄ",
];

/// Names of texts that are no secrets.
const HARMLESS_NAMES: &[&str] = &[
    "token_count",
    "tokens_used",
    "max_tokens",
    "prompt_tokens",
    "pin_code",
    "pincode",
    "passenger",
    "compass",
    "compass_word",
    "password_changed_at",
    "passwordChangedAt",
    "passwordchangedat",
    "salt_level",
    "sessions_count",
    "keyboard",
    "access_keyboard",
    "author",
    "authority",
    "secretary",
    "pinned",
    "is_pinned",
    "spin",
    "shipping",
    "opinion",
    "basalt",
    "cobalt",
    "bypass",
    "boarding_pass",
    "season_pass",
    "pass_rate",
    "passed",
    "passport_country",
    "sort_key",
    "product_key",
    "primary_key",
    "public_key",
    "key",
    "monkey",
    "turkey",
    "hockey",
    "hash",
    "content_hash",
    "email",
    "name",
    "title",
    "slug",
    "code",
    "token_type",
    "token_expires_at",
    "api_key_id",
    "api_key_name",
    "must_change_password",
    "has_password",
    "mfa_enabled",
    "two_factor_confirmed_at",
    "otp_required",
    "is_secret",
    "password_policy",
    "secret_santa_id",
    "cookie_consent",
    "session_name",
    "session",
    "sessions",
    "signature",
    "authorized_by",
    "credit",
    "keywords",
    "mots_cles",
    "palavra_chave",
    "parola_chiave",
    "palabra_clave",
    "tokenizer",
    "tokenable_type",
    "секретарь",
    "автор",
    "word",
    "pan",
    "hint",
    "question",
    "answer",
    "reset_count",
    "signed_at",
    "recovered",
    "license",
    "recovery_rate",
    "seed",
    "nonsense",
    "saltwater",
    "pineapple",
    "pintxo",
    "cookies_accepted",
];

#[test]
fn names_of_applications_are_judged_rightly() {
    let vocabulary = &*VOCABULARY;
    for name in SECRET {
        assert!(vocabulary.is_secret(name, false), "{name} {:?}", words(name));
    }
    for name in HARMLESS_NAMES {
        let found = vocabulary.found(&Name::new(name));
        assert!(!vocabulary.is_secret(name, false), "{name} {:?} {found:?}", words(name));
    }
    for name in ["token", "tokens", "secret", "mfa", "session_key", "pass", "salt", "session_id", "total_tokens"] {
        assert!(!vocabulary.is_secret(name, true), "a number is no {name}");
    }
    for name in ["password", "pin", "ssn", "otp", "cvv", "api_key"] {
        assert!(vocabulary.is_secret(name, true), "{name} may be a number");
    }
}

#[test]
fn tables_are_judged_by_what_their_rows_are() {
    let vocabulary = &*VOCABULARY;
    for name in [
        "passwords",
        "user_passwords",
        "UserPassword",
        "ResetPasswordRequest",
        "bot_passwords",
        "tokens",
        "api_keys",
        "ApiKey",
        "access_keys",
        "VerificationToken",
        "credential",
        "Credentials",
        "credentials_entity",
        "client_secrets",
        "webauthn_credentials",
        "recovery_codes",
        "email_tokens",
        "контроль_токенов",
        "mots_de_passe",
        "sentry_apikey",
    ] {
        assert!(vocabulary.is_secret_table(name), "{name}");
    }

    for name in [
        "token_buckets",
        "users",
        "keys",
        "sort_keys",
        "password_policies",
        "credential_types",
        "secret_santas",
        "passes",
        "pins",
        "cookies_flavours",
        "sessions",
        "salts_and_spices",
        "authors",
        "keyboards",
        "product_keys",
    ] {
        assert!(!vocabulary.is_secret_table(name), "{name}");
    }

    assert!(vocabulary.is_secret_of("users", "hash", false) && vocabulary.is_secret_of("app_user", "Digest", false));
    assert!(!vocabulary.is_secret_of("files", "hash", false) && !vocabulary.is_secret_of("users", "hash", true));
}

#[test]
fn no_word_of_the_vocabulary_is_harmless() {
    let vocabulary = &*VOCABULARY;
    for word in STEMS.iter().chain(PHRASES).chain(LAST).chain(WHOLE) {
        assert!(vocabulary.is_secret(word, false), "{word}");
    }
}

/// Words as one name, in one of several styles.
fn styled(words: &[String], style: usize) -> String {
    let capital = |word: &String| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    match style {
        0 => words.join("_"),
        1 => words.join("-"),
        2 => words.join("."),
        3 => words.join(" "),
        4 => words.join("_").to_uppercase(),
        5 => words.iter().map(capital).collect(),
        _ => words[0].clone() + &words[1..].iter().map(capital).collect::<String>(),
    }
}

proptest! {
    #[test]
    fn a_secret_is_found_wherever_it_stands_in_whatever_style(
        word in select(&["password", "passwd", "pwd", "secret", "token", "api key", "private key", "contrasena", "passwort",
            "mot de passe", "wachtwoord", "senha", "cvv", "ssn", "otp", "recovery codes", "client secret", "csrf", "jwt",
            "security answer", "encryption key", "session key", "haslo", "sifre", "credentials"][..]),
        before in prop::collection::vec(select(&["user", "admin", "old", "my", "current", "smtp", "stripe", "tbl"][..]), 0..3),
        behind in prop::collection::vec(select(&["hash", "value", "encrypted", "raw", "text", "plain", "2"][..]), 0..2),
        style in 0usize..7,
    ) {
        let words: Vec<String> =
            before.into_iter().chain(word.split(' ')).chain(behind).map(str::to_owned).collect();
        let name = styled(&words, style);
        prop_assert!(VOCABULARY.is_secret(&name, false), "{}", name);
    }

    #[test]
    fn what_counts_dates_or_names_a_secret_is_none_in_whatever_style(
        word in select(&["password", "token", "api key", "session key", "otp", "cookie", "salt", "pin", "secret"][..]),
        end in select(&["count", "length", "changed at", "expires at", "enabled", "required", "type", "id", "status", "policy",
            "attempts", "strength", "version"][..]),
        style in 0usize..7,
    ) {
        let words: Vec<String> = word.split(' ').chain(end.split(' ')).map(str::to_owned).collect();
        let name = styled(&words, style);
        prop_assert!(!VOCABULARY.is_secret(&name, false), "{}", name);
    }

    #[test]
    fn words_that_only_look_alike_are_served(
        words in prop::collection::vec(select(&["passenger", "compass", "keyboard", "author", "authority", "secretary", "pinned",
            "spin", "opinion", "basalt", "monkey", "saltwater", "tokenizer", "passage", "cooking", "spinner", "passport", "hashtag",
            "assault", "pinpoint", "keynote", "authentic", "title", "order", "customer", "city"][..]), 1..4),
        style in 0usize..7,
    ) {
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let name = styled(&words, style);
        prop_assert!(!VOCABULARY.is_secret(&name, false), "{}", name);
    }

    #[test]
    fn any_text_is_a_name(name in "\\PC{0,20}|[a-zA-Z0-9_ßŁøİ密パ]{0,12}") {
        let vocabulary = &*VOCABULARY;
        let _ = vocabulary.is_secret(&name, false) | vocabulary.is_secret_table(&name);
    }
}
