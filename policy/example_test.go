package policy_test

import (
	"fmt"

	"github.com/penstock/penstock/policy"
)

func Example() {
	file, err := policy.Parse("policy.yaml", policy.User, []byte(`version: 1
egress:
  allow:
    - host: "*.github.com"
      methods: [GET, HEAD]
      paths: ["/my-org/**"]
  deny:
    - host: gist.github.com
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := policy.New([]*policy.File{file}, policy.Inline{Flag: "--allow", Value: "example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, url := range []string{
		"https://api.github.com/my-org/repo",
		"https://api.github.com/other/repo",
		"https://gist.github.com/my-org/x",
		"https://EXAMPLE.com./",
	} {
		request, err := policy.ParseRequest(url, "GET")
		if err != nil {
			fmt.Println(err)
			return
		}
		v := p.Decide(request)
		fmt.Println(v.Action, url, v.Rule != nil)
	}
	// Output:
	// allow https://api.github.com/my-org/repo true
	// deny https://api.github.com/other/repo false
	// deny https://gist.github.com/my-org/x true
	// allow https://EXAMPLE.com./ true
}

func ExampleParse() {
	_, err := policy.Parse("policy.yaml", policy.User, []byte("version: 1\negres: {}\n"))
	fmt.Println(err)
	// Output:
	// policy.yaml:2:1: unknown key "egres" in the policy; did you mean "egress"?
}
