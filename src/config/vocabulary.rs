//! Words that say that a column or table holds a secret, and words that say that it does not.
//!
//! Names and words are compared folded (see [`secrets`](super::secrets)): lower case, without
//! accents and separators. So `Mot_de_Passe` is `motdepasse`. A word that is doubtful is here: what
//! is left out is said in the log, and what is served is not taken back.

/// Found anywhere in a name, also amid other letters: no other word holds them.
#[rustfmt::skip]
pub(super) const STEMS: &[&str] = &[
    // English, and what is made of it everywhere
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

/// Found as whole words, one or several in a row; those of six letters and more also at the end of
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
    // Who somebody is, and their money
    "pinhash", "pinnumber", "cvv", "cvc", "cvn", "ssn", "socialsecurity", "socialsecuritynumber",
    "sozialversicherungsnummer", "aadhaar", "aadhar", "iban", "cardnumber", "cardno", "ccnumber",
    "ccnum", "creditcard", "passportnumber", "passportno", "nationalid",
    // Where other systems are, with what lets one in
    "connstr", "connectionuri", "connectionurl", "databaseurl", "databaseuri", "dburl", "redisurl",
    "amqpurl", "sqlalchemyuri", "webhookurl", "pfx", "pkcs", "p256dh", "creds", "keyhash",
    "hashedkey", "keydigest", "salthash", "saltvalue", "salthex", "saltkey", "hashsalt", "usersalt",
];

/// The same, but as the last words of a name only: `pin_code` is a place, and a `salt_content` one
/// of the sea.
#[rustfmt::skip]
pub(super) const LAST: &[&str] = &[
    "pin", "salt", "salts", "nonce", "nonces", "auth", "authorization", "authenticator", "dsn",
    "cred", "keyauth", "keyauths", "parola", "passe", "passé", "sandi", "mima", "geheim", "соль",
    "otpkey", "privatepem", "pemprivate", "keypem", "walletseed", "userhash", "code2fa", "claveusuario", "claveacceso",
];

/// The whole name.
#[rustfmt::skip]
pub(super) const WHOLE: &[&str] = &[
    "keys", "rands", "sess", "clave",
];

/// A key is no secret: `sort_key`, `product_key`. With one of [`KEY_KINDS`] before or behind it, it
/// is.
#[rustfmt::skip]
pub(super) const KEYS: &[&str] = &[
    "key", "keys", "schlüssel", "schluessel", "sleutel", "cle", "cles", "clef", "clefs", "clave",
    "claves", "llave", "llaves", "chiave", "chiavi", "chave", "chaves", "klucz", "klíč", "ključ",
    "klyuch", "kulcs", "cheie", "nyckel", "avain", "anahtar", "anahtari", "kunci", "ключ", "ключи",
];

/// What a key is for that must be kept.
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

/// What stands behind `pass` where it is a password.
#[rustfmt::skip]
pub(super) const PASS_BEHIND: &[&str] = &[
    "crypt", "hash", "word", "wd", "wrd", "phrase", "key", "salt", "md", "sha", "digest", "hint",
    "plain", "text", "enc", "confirm", "confirmation", "verify",
];

/// What stands before `pass` where it is none.
#[rustfmt::skip]
pub(super) const PASS_OTHER: &[&str] = &[
    "boarding", "season", "bus", "ski", "day", "press", "monthly", "annual", "weekly", "travel",
    "hall", "mountain", "low", "high", "first", "second", "third", "free", "gate", "game", "battle",
    "event", "guest", "visitor", "parking", "train", "rail", "metro", "transit", "band", "single",
    "multi", "render", "test", "exam", "course", "did", "will", "by", "can",
];

/// The last word of a name that tells of a secret and does not hold it: counts, dates, states, what
/// it is called, and what points to it.
#[rustfmt::skip]
pub(super) const HARMLESS_ENDS: &[&str] = &[
    // Counts and measures
    "count", "counts", "counter", "total", "totals", "sum", "limit", "limits", "quota", "quotas",
    "max", "min", "used", "usage", "remaining", "length", "len", "size", "bits", "bytes",
    "strength", "score", "level", "levels", "amount", "balance", "supply", "price", "cost", "costs",
    "rate", "rates", "percent", "percentage", "ratio", "decimals", "bucket", "buckets", "index",
    "position", "rank", "weight", "attempts", "attempt", "failures", "retries", "tries", "interval",
    "iterations", "rounds", "g", "mg", "kg", "ms", "num", "seq", "per",
    // Moments
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
    // What it is called, and of which kind it is
    "type", "types", "kind", "kinds", "format", "algo", "algorithm", "alg", "method", "methods",
    "version", "id", "ids", "pk", "fk", "name", "names", "label", "labels", "title", "titles",
    "description", "descriptions", "symbol", "address", "standard", "contract", "issuer",
    "provider", "icon", "logo", "category", "categories", "language", "locale", "country",
    "currency", "color", "unit", "units",
    // Other languages
    "anzahl", "datum", "zeit", "typ", "länge", "laenge", "cantidad", "fecha", "tipo", "quantité",
    "quantidade", "aantal", "liczba", "дата",
];

/// The first word of such a name: it asks, or counts.
#[rustfmt::skip]
pub(super) const HARMLESS_BEGINNINGS: &[&str] = &[
    "is", "has", "have", "had", "max", "min", "num", "n", "total", "count", "avg", "average", "sum",
    "allow", "allows", "require", "requires", "required", "must", "can", "should", "show", "hide",
    "use", "uses", "enable", "enabled", "disable", "disabled", "force", "needs", "need", "supports",
    "nb",
];

/// Before `tokens`, of which somebody counts those that a language model has read and written.
#[rustfmt::skip]
pub(super) const COUNTED: &[&str] = &[
    "prompt", "completion", "input", "output", "cached", "reasoning", "thinking", "context",
];

/// What reads like a secret and is none.
#[rustfmt::skip]
pub(super) const HARMLESS: &[&str] = &[
    "tokenurl", "tokenuri", "tokenendpoint", "secretsanta", "secretballot", "secretshopper",
];

/// Secrets of which a harmless end is part: `session_id` is what lets one in.
#[rustfmt::skip]
pub(super) const EVER: &[&str] = &[
    "sessionid", "nationalid", "webhookurl", "databaseurl",
];

/// Secrets that are no numbers: a number of such a name counts, points or says yes or no.
#[rustfmt::skip]
pub(super) const NEVER_NUMBERS: &[&str] = &[
    "token", "tokens", "secret", "secrets", "cookie", "cookies", "salt", "salts", "nonce", "nonces",
    "auth", "keys", "mfa", "tfa", "2fa", "twofactor", "sessionid", "sessid", "sandi", "passe",
    "parola", "jeton", "jetons", "authenticator", "authorization", "secreto", "secreta", "segreto",
    "segreta", "geheim", "sekret", "clave", "gizli", "токен", "секрет", "токены", "トークン", "토큰",
    "令牌", "비밀", "秘密", "parol", "pw",
];

/// What a table is called whose rows are secrets: its last words, beside [`STEMS`].
#[rustfmt::skip]
pub(super) const TABLE_ENDS: &[&str] = &[
    "token", "tokens", "secret", "secrets", "otp", "otps", "totp", "hotp", "jwt", "jwts", "nonce",
    "nonces", "userkeys", "scratchcodes", "verificationcodes", "authcodes", "authorizationcodes",
    "authenticator", "authenticators", "twofactor", "mfa", "mfafactors", "magiclinks",
    "securityanswers", "securityquestions", "creds", "signingkeys", "encryptionkeys", "webhook",
    "webhooks", "cookies", "totps", "passkeys",
];

/// What a table of people is called, in which a column `hash` is a password's.
#[rustfmt::skip]
pub(super) const PEOPLE: &[&str] = &[
    "user", "users", "account", "accounts", "admin", "admins", "member", "members", "login",
    "logins", "customer", "customers", "staff", "employee", "employees", "benutzer", "utilisateur",
    "utilisateurs", "usuario", "usuarios", "utente", "utenti", "gebruiker", "gebruikers",
    "kullanici", "пользователь", "пользователи", "用户", "ユーザー", "사용자",
];

/// What holds a secret in a table of people, and nothing elsewhere.
#[rustfmt::skip]
pub(super) const OF_PEOPLE: &[&str] = &[
    "hash", "hashed", "digest", "crypt", "crypted", "encrypted", "auth", "key", "authentication",
];
