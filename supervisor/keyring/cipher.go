package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"math/big"
)

// The algorithm of the Secret Service's encrypted sessions, from its chapter on the
// transfer of secrets: it keeps the value from who reads along, not from who sits in
// between, who would be the bus itself.
const algorithm = "dh-ietf1024-sha256-aes128-cbc-pkcs7"

// prime is the second Oakley group's (RFC 2409, 6.2); its generator is 2.
const prime = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF"

// exchange is our half of an agreement on a key.
type exchange struct{ p, private *big.Int }

func newExchange() (*exchange, error) {
	p, _ := new(big.Int).SetString(prime, 16)
	private, err := rand.Int(rand.Reader, p)
	if err != nil {
		return nil, err
	}
	return &exchange{p, private}, nil
}

// public is what the other side is sent.
func (x *exchange) public() []byte {
	return new(big.Int).Exp(big.NewInt(2), x.private, x.p).Bytes()
}

// key is what both sides have, from what the other one has sent.
func (x *exchange) key(theirs []byte) ([]byte, error) {
	y := new(big.Int).SetBytes(theirs)
	if one := big.NewInt(1); y.Cmp(one) <= 0 || y.Cmp(new(big.Int).Sub(x.p, one)) >= 0 {
		return nil, errors.New("the keyring's half of the key can't be one")
	}
	shared := new(big.Int).Exp(y, x.private, x.p).FillBytes(make([]byte, len(x.p.Bytes())))
	return hkdf.Key(sha256.New, shared, nil, "", aes.BlockSize)
}

var errCipher = errors.New("the keyring's answer can't be decrypted")

// decrypt undoes AES in CBC mode with the padding of PKCS #7. Its result is new memory.
func decrypt(key, iv, sealed []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if len(iv) != aes.BlockSize || len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errCipher
	}
	clear := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(clear, sealed)
	n := int(clear[len(clear)-1])
	if n == 0 || n > aes.BlockSize {
		return nil, errCipher
	}
	for _, b := range clear[len(clear)-n:] {
		if int(b) != n {
			return nil, errCipher
		}
	}
	return clear[:len(clear)-n], nil
}
