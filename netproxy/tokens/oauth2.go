package tokens

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/penstock/penstock/netproxy/secrets"
	"github.com/penstock/penstock/policy"
)

// tokenEndpoint gets access tokens (RFC 6749, sections 4.4 and 6).
type tokenEndpoint struct {
	*policy.OAuth2
	name string
	set  *secrets.Set
}

func (o *tokenEndpoint) get(ctx context.Context, rt http.RoundTripper) (grant, error) {
	r, err := o.request()
	if err != nil {
		return grant{}, err
	}
	var answer struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Expires life   `json:"expires_in"`
		Refresh string `json:"refresh_token"`
	}
	if err := ask(ctx, rt, r, &answer); err != nil {
		return grant{}, err
	}
	switch {
	case answer.Token == "":
		return grant{}, errors.New("the answer has no access_token")
	case answer.Type != "" && !strings.EqualFold(answer.Type, "Bearer"):
		return grant{}, errors.New("the answer has a token of another type than Bearer")
	}
	if answer.Refresh != "" && o.RefreshToken != nil {
		// The old one may be worth nothing from now on (RFC 6749, 6).
		if err := o.set.Replace(secrets.PartName(o.name, policy.PartRefreshToken), secrets.NewValue(answer.Refresh)); err != nil {
			return grant{}, err
		}
	}
	return grant{secrets.NewValue(answer.Token), time.Duration(answer.Expires)}, nil
}

func (o *tokenEndpoint) request() (*http.Request, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if o.RefreshToken != nil {
		err := o.set.Use(secrets.PartName(o.name, policy.PartRefreshToken), func(v string) error {
			form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {v}}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(o.Scopes) > 0 {
		form.Set("scope", strings.Join(o.Scopes, " "))
	}
	if o.Audience != "" {
		form.Set("audience", o.Audience)
	}
	user := ""
	if o.ClientSecret == nil {
		form.Set("client_id", o.ClientID)
	} else {
		err := o.set.Use(secrets.PartName(o.name, policy.PartClientSecret), func(v string) error {
			if o.Body {
				form.Set("client_id", o.ClientID)
				form.Set("client_secret", v)
				return nil
			}
			user = v
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequest(http.MethodPost, o.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user != "" {
		// Each is encoded as in a form first (RFC 6749, 2.3.1).
		r.SetBasicAuth(url.QueryEscape(o.ClientID), url.QueryEscape(user))
	}
	return r, nil
}
