package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// The documents of an image are those of the OCI's image specification 1.1: index,
// manifest, configuration. Maps would be written in order, too; these have the fields
// that are used.

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type imageConfig struct {
	Created time.Time `json:"created"`
	platform
	Config  runConfig `json:"config"`
	RootFS  rootFS    `json:"rootfs"`
	History []history `json:"history"`
}

// runConfig is what an engine starts if it isn't told otherwise.
type runConfig struct {
	User       string
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	Labels     map[string]string
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// dockerImage is an entry of manifest.json, which docker load read before it knew OCI's.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

const media = "application/vnd.oci.image."

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// archive writes an image of one layer as an OCI layout in a tar, which podman and
// skopeo read as oci-archive:, and docker load as it is.
func archive(layer []byte, arch, tag string, when time.Time, run runConfig) ([]byte, error) {
	out := tree{}
	put := func(kind string, b []byte) descriptor {
		d := digest(b)
		out.file("blobs/sha256/"+d, 0o644, b)
		return descriptor{MediaType: media + kind, Digest: "sha256:" + d, Size: len(b)}
	}
	var packed bytes.Buffer
	// Without a name and a time in its header, so of the same bytes each time.
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write(layer); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	p := platform{arch, "linux"}
	config, err := json.Marshal(&imageConfig{
		Created: when, platform: p, Config: run,
		RootFS:  rootFS{"layers", []string{"sha256:" + digest(layer)}},
		History: []history{{when, "make image"}},
	})
	if err != nil {
		return nil, err
	}
	conf, only := put("config.v1+json", config), put("layer.v1.tar+gzip", packed.Bytes())
	m, err := json.Marshal(&manifest{2, media + "manifest.v1+json", conf, []descriptor{only}})
	if err != nil {
		return nil, err
	}
	top := put("manifest.v1+json", m)
	top.Platform = &p
	top.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
	i, err := json.Marshal(&index{2, media + "index.v1+json", []descriptor{top}})
	if err != nil {
		return nil, err
	}
	out.file("index.json", 0o644, i)
	blob := func(d descriptor) string { return "blobs/sha256/" + strings.TrimPrefix(d.Digest, "sha256:") }
	docker, err := json.Marshal([]dockerImage{{blob(conf), []string{tag}, []string{blob(only)}}})
	if err != nil {
		return nil, err
	}
	out.file("manifest.json", 0o644, docker)
	out.file("oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return out.layer(when)
}

// save writes a file whole, or not at all.
func save(name string, b []byte) error {
	if err := os.WriteFile(name+".part", b, 0o644); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return os.Rename(name+".part", name)
}
