package keyring

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"math/big"
	"testing"
)

// TestExchange: both sides have one key, and a half that gives the key away is refused.
func TestExchange(t *testing.T) {
	a, err := newExchange()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newExchange()
	if err != nil {
		t.Fatal(err)
	}
	ka, err := a.key(b.public())
	if err != nil {
		t.Fatal(err)
	}
	kb, err := b.key(a.public())
	if err != nil || !bytes.Equal(ka, kb) || len(ka) != 16 {
		t.Errorf("%x and %x: %v", ka, kb, err)
	}
	p := a.p
	for _, n := range []*big.Int{big.NewInt(0), big.NewInt(1), new(big.Int).Sub(p, big.NewInt(1)), p, new(big.Int).Add(p, big.NewInt(2))} {
		if k, err := a.key(n.Bytes()); err == nil {
			t.Errorf("half %x: key %x", n, k)
		}
	}
	if !p.ProbablyPrime(20) {
		t.Error("the prime is none")
	}
}

func FuzzDecrypt(f *testing.F) {
	key := make([]byte, 16)
	f.Add(key, []byte("0123456789abcdef"))
	f.Add(key, []byte{})
	f.Add(key[:15], key)
	f.Fuzz(func(t *testing.T, iv, data []byte) {
		if clear, err := decrypt(key, iv, data); err == nil && len(clear) >= len(data) {
			t.Errorf("%d bytes of %d", len(clear), len(data))
		}
		if len(iv) != aes.BlockSize {
			return
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		n := aes.BlockSize - len(data)%aes.BlockSize
		padded := append(bytes.Clone(data), bytes.Repeat([]byte{byte(n)}, n)...)
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
		if clear, err := decrypt(key, iv, padded); err != nil || !bytes.Equal(clear, data) {
			t.Errorf("%x is %x, %v", data, clear, err)
		}
		padded[len(padded)-1] ^= 1
		decrypt(key, iv, padded) //nolint:errcheck // it may be one by chance
	})
}
