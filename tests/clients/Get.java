import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.regex.Pattern;
import java.util.zip.GZIPInputStream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

class Get {
    static final Pattern ID = Pattern.compile("\"id\":(\\d+)"), TEXT = Pattern.compile("\"(?:[^\"\\\\]++|\\\\.)*+\"");
    static final HttpClient CLIENT = client();

    static String encoding;

    /** Trusts the certificate that `SSL_CERT_FILE` names, which is how Go is told. */
    static HttpClient client() {
        var file = System.getenv("SSL_CERT_FILE");
        if (file == null) return HttpClient.newHttpClient();
        try (var pem = new FileInputStream(file)) {
            var trusted = KeyStore.getInstance(KeyStore.getDefaultType());
            trusted.load(null, null);
            trusted.setCertificateEntry("server", CertificateFactory.getInstance("X.509").generateCertificate(pem));
            var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(trusted);
            var tls = SSLContext.getInstance("TLS");
            tls.init(null, trust.getTrustManagers(), null);
            return HttpClient.newBuilder().sslContext(tls).build();
        } catch (IOException | GeneralSecurityException failure) {
            throw new IllegalStateException(failure);
        }
    }

    /** Reads a list into `body`. It asks for no encoding by itself, and decodes none. */
    static void get(String url, String how, String asked, ByteArrayOutputStream body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).header("Accept-Encoding", asked).build();
        InputStream bytes;
        if (how.equals("whole")) {
            var response = CLIENT.send(request, BodyHandlers.ofByteArray());
            bytes = decoded(response, new ByteArrayInputStream(response.body()));
        } else {
            var response = CLIENT.send(request, BodyHandlers.ofInputStream());
            bytes = decoded(response, response.body());
        }
        var part = new byte[16 * 1024];
        for (int read; (read = bytes.read(part)) >= 0; ) {
            var here = how.equals("whole") || body.toString(StandardCharsets.UTF_8).contains("\"id\":2,");
            body.write(part, 0, read);
            if (!here && body.toString(StandardCharsets.UTF_8).contains("\"id\":2,")) System.out.println("rows are here");
        }
    }

    static InputStream decoded(HttpResponse<?> response, InputStream bytes) throws IOException {
        encoding = response.headers().firstValue("content-encoding").orElse(null);
        return encoding == null ? bytes : new GZIPInputStream(bytes);
    }

    /** Whether every bracket of a JSON text is closed; Java brings no parser. */
    static boolean isClosed(String json) {
        int depth = 0;
        for (var sign : TEXT.matcher(json).replaceAll("").toCharArray()) {
            if (sign == '{' || sign == '[') depth++;
            if (sign == '}' || sign == ']') depth--;
        }
        return depth == 0 && json.startsWith("{");
    }

    static String quoted(String text) {
        return text == null ? "null" : '"' + text.replaceAll("[\"\\\\\\p{Cntrl}]", " ") + '"';
    }

    public static void main(String[] arguments) throws IOException {
        var requests = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = requests.readLine()) != null; ) {
            var asked = line.split(" ");
            var body = new ByteArrayOutputStream();
            String error = null;
            encoding = null;
            try {
                get(asked[0], asked[1], asked[2], body);
            } catch (Exception failure) {
                error = failure.toString();
            }
            var json = body.toString(StandardCharsets.UTF_8);
            var ids = ID.matcher(json).results().mapToLong(id -> Long.parseLong(id.group(1))).summaryStatistics();
            var rows = isClosed(json) ? ids.getCount() + ",\"sum\":" + ids.getSum() : "null,\"sum\":null";
            System.out.println("{\"rows\":" + rows + ",\"encoding\":" + quoted(encoding) + ",\"error\":" + quoted(error) + "}");
        }
    }
}
