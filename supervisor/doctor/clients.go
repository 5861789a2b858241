package doctor

// probe is how one client is asked to make one HTTPS request. URL in argv and
// env stands for the origin.
type probe struct {
	name     string
	programs []string // all must be installed, else the client is not mentioned
	files    map[string]string
	env      []string
	argv     []string
	path     string // what must arrive
	fix      string
}

// clients are the programs that agents use most, each with a trust store of its own.
func clients() []probe {
	return []probe{
		{
			name: "curl", programs: []string{"curl"}, path: "/curl",
			argv: []string{"curl", "-sS", "-f", "URL/curl"},
			fix:  "curl reads CURL_CA_BUNDLE or the system's bundle: see which one its build uses with curl -v",
		},
		{
			name: "wget", programs: []string{"wget"}, path: "/wget",
			argv: []string{"wget", "-q", "-O", "-", "URL/wget"},
			fix:  "wget reads the system's bundle: install ca-certificates",
		},
		{
			name: "git", programs: []string{"git"}, path: "/probe.git/info/refs",
			argv: []string{"git", "ls-remote", "URL/probe.git"},
			fix:  "unset http.sslCAInfo and http.proxy in git's configuration",
		},
		{
			name: "node", programs: []string{"node"}, path: "/node",
			argv: []string{"node", "-e", `require("https").get("URL/node", r => { r.resume(); r.on("end", () => process.exit(r.statusCode === 200 ? 0 : 1)) }).on("error", e => { console.error(e.message); process.exit(1) })`},
			fix:  "node reads NODE_EXTRA_CA_CERTS: a program that gives its own ca option ignores it",
		},
		{
			name: "node fetch", programs: []string{"node"}, path: "/node-fetch",
			argv: []string{"node", "-e", `fetch("URL/node-fetch").then(r => r.text()).then(() => process.exit(0), e => { console.error(e.message, e.cause && e.cause.message); process.exit(1) })`},
			fix:  "fetch needs node 18 or later",
		},
		{
			name: "python", programs: []string{"python3"}, path: "/python",
			argv: []string{"python3", "-c", `import urllib.request; urllib.request.urlopen("URL/python").read()`},
			fix:  "Python reads SSL_CERT_FILE: a program with a bundle of its own (certifi) needs REQUESTS_CA_BUNDLE",
		},
		{
			name: "java", programs: []string{"java", "javac"}, path: "/java",
			files: map[string]string{"Probe.java": javaProbe},
			// One thread and no optimising compiler: it runs for one request.
			argv: []string{"java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "Probe.java", "URL/java"},
			fix:  "Java reads the trust store that JAVA_TOOL_OPTIONS names: a program that sets javax.net.ssl.trustStore itself ignores it",
		},
		{
			name: "go", programs: []string{"go"}, path: "/example.com/probe/@v/list",
			env:  []string{"GOPROXY=URL", "GONOSUMDB=*", "GOFLAGS=-mod=mod", "GOTOOLCHAIN=local", "GO111MODULE=on"},
			argv: []string{"go", "list", "-m", "-versions", "example.com/probe"},
			fix:  "Go programs read SSL_CERT_FILE",
		},
	}
}

const javaProbe = `import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class Probe {
    public static void main(String[] args) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0])).build();
        int status = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).statusCode();
        System.exit(status == 200 ? 0 : 1);
    }
}
`
