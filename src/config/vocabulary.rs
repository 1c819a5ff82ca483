//! Words for secrets in the names of columns and tables, and words for harmless ones.
//!
//! Names and words are compared folded (see [`secrets`](super::secrets)): lower case, without
//! accents and separators, so `Mot_de_Passe` is `motdepasse`. A doubtful word is in here: a table
//! that is left out is reported in the log, but rows that were served cannot be taken back.

/// Found anywhere in a name, even within a word: no harmless word contains them.
#[rustfmt::skip]
pub(super) const STEMS: &[&str] = &[
    // English, and words from it in other languages
    "password", "passwd", "passwrd", "pasword", "pswd", "passphrase", "passcrypt", "passhash",
    "passsalt", "pwd", "credential", "apikey", "privatekey", "privkey", "secretkey", "encryptionkey",
    "decryptionkey", "accesskey", "authkey", "sshkey", "accesstoken", "refreshtoken", "authtoken",
    "sessiontoken", "clientsecret", "recoverycode", "backupcode", "seedphrase", "mnemonicphrase",
    "connectionstring", "keystore", "ciphertext",
    // German, Dutch, the North
    "passwort", "passwörter", "passwoerter", "kennwort", "kennwörter", "kennwoerter", "losungswort",
    "zugangsdaten", "wachtwoord", "lösenord", "adgangskode", "kodeord", "passord", "salasana",
    "lykilorð",
    // Romance languages
    "motdepasse", "motsdepasse", "motpasse", "contraseñ", "contrasen", "contrasinal",
    "palavrapasse", "palavradepasse",
    // Slavic and Baltic languages, Hungarian, Estonian, Turkish, Vietnamese, Indonesian; Japanese
    // in Latin letters
    "lozinka", "slaptažod", "jelszó", "parool", "mậtkhẩu", "katasandi", "gizlianahtar",
    "anshobango", "bimilbeonho",
    // Cyrillic, Greek
    "парол", "токен", "лозинк", "ключдоступа", "ключшифрования", "кодовоеслово", "συνθηματικ",
    "κωδικοςπρόσβασης",
    // Chinese, Japanese, Korean
    "密码", "密碼", "口令", "密钥", "密鑰", "秘钥", "私钥", "私鑰", "令牌", "パスワード", "パスコード", "パスフレーズ", "暗証", "秘密",
    "合言葉", "トークン", "비밀", "암호", "비번", "패스워드", "토큰", "시크릿", "개인키",
    // Arabic, Persian, Hebrew, Hindi, Bengali, Thai
    "كلمةالمرور", "كلمةالسر", "كلمهالمرور", "كلمهالسر", "رمزعبور", "گذرواژه", "סיסמ", "पासवर्ड",
    "कूटशब्द", "পাসওয়ার্ড", "รหัสผ่าน",
];

/// Found as whole words, one or several in a row; those of five letters and more also at the end of
/// a longer word.
#[rustfmt::skip]
pub(super) const PHRASES: &[&str] = &[
    // Passwords
    "pw", "pwhash", "pwsalt", "psw", "passw", "userpass", "dbpass", "loginpass", "mypass", "adminpass",
    "smtppass", "mailpass", "hashedpass", "passenc", "passcode", "passreset", "mdp", "senha",
    "senhas", "segredo", "hasło", "hasła", "haslo", "heslo", "hesla", "geslo", "parol", "şifre",
    "şifresi", "kouling", "miyao", "siyao", "sekret", "geheimnis", "secreto", "secreta", "segreto",
    "segreta", "gizli", "пин", "пинкод", "гасло", "секрет", "секреты", "секретноеслово",
    "секретныйкод",
    // Tokens, cookies, sessions
    "secret", "secrets", "token", "tokens", "jeton", "jetons", "gettone", "cookie", "cookies",
    "csrf", "xsrf", "jwt", "jwts", "bearer", "sessionid", "sessid", "phpsessid", "sessiondata",
    "sessionhash", "sessionvalue", "sessionpayload", "authdata", "authhash", "authstring",
    "authenticationstring", "magiclink", "loginlink", "resetlink", "resetdigest", "resethash",
    "activationhash", "activationdigest", "rememberdigest", "tokenhash", "tokenkey", "tokenvalue",
    // One-time passwords and second factors
    "otp", "otps", "totp", "hotp", "mfa", "tfa", "2fa", "twofactor", "twofa", "u2f", "onetimecode",
    "scratchcode", "emergencycode", "verificationcode", "confirmationcode", "activationcode",
    "resetcode", "securitycode", "accesscode", "authcode", "authorizationcode", "unlockcode",
    "logincode", "secretcode", "codesecret", "smscode", "invitecode", "invitationcode", "验证码",
    "驗證碼",
    // Questions and answers
    "securityquestion", "securityanswer", "secretquestion", "secretanswer", "recoveryquestion",
    "recoveryanswer", "challengeanswer", "questionsecrete", "reponsesecrete", "preguntasecreta",
    "respuestasecreta", "sicherheitsfrage", "sicherheitsantwort", "maidenname",
    // Personal numbers and payment data
    "pinhash", "pinnumber", "cvv", "cvc", "cvn", "ssn", "socialsecurity", "socialsecuritynumber",
    "sozialversicherungsnummer", "aadhaar", "aadhar", "iban", "cardnumber", "cardno", "ccnumber",
    "ccnum", "creditcard", "passportnumber", "passportno", "nationalid",
    // Addresses of other systems, with credentials
    "connstr", "connectionuri", "connectionurl", "databaseurl", "databaseuri", "dburl", "redisurl",
    "amqpurl", "sqlalchemyuri", "webhookurl", "pfx", "pkcs", "p256dh", "creds", "keyhash",
    "hashedkey", "keydigest", "salthash", "saltvalue", "salthex", "saltkey", "hashsalt", "usersalt",
];

/// The same, but only as the last words of a name: `pin_code` is a postal code, and `salt_content`
/// is about the sea.
#[rustfmt::skip]
pub(super) const LAST: &[&str] = &[
    "pin", "salt", "salts", "nonce", "nonces", "auth", "authorization", "authenticator", "dsn",
    "cred", "keyauth", "keyauths", "parola", "passe", "passé", "sandi", "mima", "geheim", "соль",
    "otpkey", "privatepem", "pemprivate", "keypem", "walletseed", "userhash", "code2fa", "claveusuario", "claveacceso",
];

/// Only as the whole name.
#[rustfmt::skip]
pub(super) const WHOLE: &[&str] = &[
    "keys", "rands", "sess", "clave",
];

/// A key alone is no secret: `sort_key`, `product_key`. With one of [`KEY_KINDS`] before or after
/// it, it is.
#[rustfmt::skip]
pub(super) const KEYS: &[&str] = &[
    "key", "keys", "schlüssel", "schluessel", "sleutel", "cle", "cles", "clef", "clefs", "clave",
    "claves", "llave", "llaves", "chiave", "chiavi", "chave", "chaves", "klucz", "klíč", "ključ",
    "klyuch", "kulcs", "cheie", "nyckel", "avain", "anahtar", "anahtari", "kunci", "ключ", "ключи",
];

/// Kinds of keys that must be kept secret.
#[rustfmt::skip]
pub(super) const KEY_KINDS: &[&str] = &[
    "private", "priv", "secret", "access", "encryption", "encrypt", "encrypted", "enc",
    "decryption", "crypt", "crypto", "cipher", "session", "auth", "authentication", "authorization",
    "api", "signing", "sign", "signature", "license", "licence", "activation", "registration",
    "master", "root", "ssh", "gpg", "pgp", "hmac", "aes", "rsa", "shared", "symmetric", "service",
    "recovery", "reset", "verify", "verification", "confirmation", "confirm", "unlock", "login",
    "password", "webhook", "stripe", "twilio", "sendgrid", "mailgun", "openai", "aws", "azure",
    "vapid", "app", "consumer", "client", "server", "delete", "wrapped", "identity", "hashed",
    "invite", "invitation", "wep", "wpa", "wifi",
    // Other languages, in the order of the keys above
    "privater", "privat", "geheimer", "zugriffs", "zugangs", "sitzungs", "prive", "privé",
    "geheime", "toegangs", "privée", "secrète", "acces", "chiffrement", "privada", "secreta",
    "acceso", "cifrado", "sesion", "privata", "segreta", "accesso", "acesso", "sessao", "prywatny",
    "tajny", "dostepu", "soukromy", "privatni", "tajni", "privatnyj", "sekretnyj", "gizli", "ozel",
    "özel", "rahasia", "приватный", "закрытый", "секретный", "доступа", "шифрования",
];

/// Words behind `pass` that show it is a password.
#[rustfmt::skip]
pub(super) const PASS_BEHIND: &[&str] = &[
    "crypt", "hash", "word", "wd", "wrd", "phrase", "key", "salt", "md", "sha", "digest", "hint",
    "plain", "text", "enc", "confirm", "confirmation", "verify",
];

/// Words before `pass` that show it is none.
#[rustfmt::skip]
pub(super) const PASS_OTHER: &[&str] = &[
    "boarding", "season", "bus", "ski", "day", "press", "monthly", "annual", "weekly", "travel",
    "hall", "mountain", "low", "high", "first", "second", "third", "free", "gate", "game", "battle",
    "event", "guest", "visitor", "parking", "train", "rail", "metro", "transit", "band", "single",
    "multi", "render", "test", "exam", "course", "did", "will", "by", "can",
];

/// Last words of names that mention a secret but do not hold it: counts, dates, states, names,
/// references.
#[rustfmt::skip]
pub(super) const HARMLESS_ENDS: &[&str] = &[
    // Counts and measures
    "count", "counts", "counter", "total", "totals", "sum", "limit", "limits", "quota", "quotas",
    "max", "min", "used", "usage", "remaining", "length", "len", "size", "bits", "bytes",
    "strength", "score", "level", "levels", "amount", "balance", "supply", "price", "cost", "costs",
    "rate", "rates", "percent", "percentage", "ratio", "decimals", "bucket", "buckets", "index",
    "position", "rank", "weight", "attempts", "attempt", "failures", "retries", "tries", "interval",
    "iterations", "rounds", "g", "mg", "kg", "ms", "num", "seq", "per",
    // Times
    "at", "on", "date", "datetime", "time", "timestamp", "day", "days", "hour", "hours", "minutes",
    "seconds", "age", "ts", "expires", "expire", "expiry", "expiration", "expired", "ttl",
    "lifetime", "validity", "duration", "created", "updated", "update", "modified", "changed",
    "change", "sent", "issued", "since", "until", "began", "started", "ended",
    // States and rules
    "enabled", "enable", "disabled", "disable", "required", "active", "valid", "verified",
    "confirmed", "revoked", "status", "state", "allowed", "needed", "set", "accepted", "consent",
    "policy", "policies", "banner", "preferences", "notice", "flag", "flags", "locked", "rotated",
    "rotation", "mode", "permission", "permissions", "scope", "scopes", "role", "roles", "optional",
    "supported", "by",
    // Names and kinds
    "type", "types", "kind", "kinds", "format", "algo", "algorithm", "alg", "method", "methods",
    "version", "id", "ids", "pk", "fk", "name", "names", "label", "labels", "title", "titles",
    "description", "descriptions", "symbol", "address", "standard", "contract", "issuer",
    "provider", "icon", "logo", "category", "categories", "language", "locale", "country",
    "currency", "color", "unit", "units",
    // Other languages
    "anzahl", "datum", "zeit", "typ", "länge", "laenge", "cantidad", "fecha", "tipo", "quantité",
    "quantidade", "aantal", "liczba", "дата",
];

/// First words of such names: questions and counts.
#[rustfmt::skip]
pub(super) const HARMLESS_BEGINNINGS: &[&str] = &[
    "is", "has", "have", "had", "max", "min", "num", "n", "total", "count", "avg", "average", "sum",
    "allow", "allows", "require", "requires", "required", "must", "can", "should", "show", "hide",
    "use", "uses", "enable", "enabled", "disable", "disabled", "force", "needs", "need", "supports",
    "nb",
];

/// Before `tokens`: those of a language model, which are counted.
#[rustfmt::skip]
pub(super) const COUNTED: &[&str] = &[
    "prompt", "completion", "input", "output", "cached", "reasoning", "thinking", "context",
];

/// Names that look like secrets and are none.
#[rustfmt::skip]
pub(super) const HARMLESS: &[&str] = &[
    "tokenurl", "tokenuri", "tokenendpoint", "secretsanta", "secretballot", "secretshopper",
];

/// Secrets that contain a harmless ending: a `session_id` lets its bearer in.
#[rustfmt::skip]
pub(super) const EVER: &[&str] = &[
    "sessionid", "nationalid", "webhookurl", "databaseurl",
];

/// Secrets that are never numbers: a number with such a name is a count, a reference or a flag.
#[rustfmt::skip]
pub(super) const NEVER_NUMBERS: &[&str] = &[
    "token", "tokens", "secret", "secrets", "cookie", "cookies", "salt", "salts", "nonce", "nonces",
    "auth", "keys", "mfa", "tfa", "2fa", "twofactor", "sessionid", "sessid", "sandi", "passe",
    "parola", "jeton", "jetons", "authenticator", "authorization", "secreto", "secreta", "segreto",
    "segreta", "geheim", "sekret", "clave", "gizli", "токен", "секрет", "токены", "トークン", "토큰",
    "令牌", "비밀", "秘密", "parol", "pw",
];

/// Last words of the names of tables whose rows are secrets, besides [`STEMS`].
#[rustfmt::skip]
pub(super) const TABLE_ENDS: &[&str] = &[
    "token", "tokens", "secret", "secrets", "otp", "otps", "totp", "hotp", "jwt", "jwts", "nonce",
    "nonces", "userkeys", "scratchcodes", "verificationcodes", "authcodes", "authorizationcodes",
    "authenticator", "authenticators", "twofactor", "mfa", "mfafactors", "magiclinks",
    "securityanswers", "securityquestions", "creds", "signingkeys", "encryptionkeys", "webhook",
    "webhooks", "cookies", "totps", "passkeys",
];

/// Names of tables of people, in which a column `hash` is of a password.
#[rustfmt::skip]
pub(super) const PEOPLE: &[&str] = &[
    "user", "users", "account", "accounts", "admin", "admins", "member", "members", "login",
    "logins", "customer", "customers", "staff", "employee", "employees", "benutzer", "utilisateur",
    "utilisateurs", "usuario", "usuarios", "utente", "utenti", "gebruiker", "gebruikers",
    "kullanici", "пользователь", "пользователи", "用户", "ユーザー", "사용자",
];

/// Columns that are secret in a table of people, and nowhere else.
#[rustfmt::skip]
pub(super) const OF_PEOPLE: &[&str] = &[
    "hash", "hashed", "digest", "crypt", "crypted", "encrypted", "auth", "key", "authentication",
];
