package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// Parse reads one policy file. The error is an *ErrorList with everything that
// is wrong with the file by itself; what is wrong between files is found by Load.
func Parse(file string, layer Layer, src []byte) (*File, error) {
	sum := sha256.Sum256(src)
	f := &File{Name: file, Layer: layer, SHA256: hex.EncodeToString(sum[:])}
	p := &parser{file: file, lay: layer}
	if root := p.document(src); root != nil {
		p.root(f, root)
	}
	if err := p.errs.err(); err != nil {
		return nil, err
	}
	return f, nil
}

func (p *parser) root(f *File, n *yaml.Node) {
	seen := p.fields(n, "the policy", []field{
		{"version", p.version},
		{"sandbox", func(n *yaml.Node) { p.sandbox(f, n) }},
		{"filesystem", func(n *yaml.Node) { p.filesystem(f, n) }},
		{"environment", func(n *yaml.Node) { p.environment(f, n) }},
		{"egress", func(n *yaml.Node) { p.egress(f, n) }},
		{"secrets", func(n *yaml.Node) { p.secrets(f, n) }},
		{"limits", func(n *yaml.Node) { p.limits(f, n) }},
		{"hooks", func(n *yaml.Node) { p.hooks(f, n) }},
	})
	if seen != nil && seen["version"] == nil {
		p.fail(n, "write it as the first line: version: 1", "the policy has no version")
	}
}

func (p *parser) version(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Value == "1" && n.Tag == "!!int" {
		return
	}
	p.fail(n, "write version: 1, or use a newer penstock", "version %s is not supported", quote(n.Value))
}

func set[T any](p *parser, to *Value[T], n *yaml.Node, v T, ok bool) {
	if ok {
		*to = Value[T]{V: v, From: p.at(n), Set: true}
	}
}

func (p *parser) sandbox(f *File, n *yaml.Node) {
	s := &f.sandbox
	p.fields(n, "sandbox", append([]field{
		{"tier", func(n *yaml.Node) {
			v, ok := p.enum(n, "sandbox.tier", tiers())
			set(p, &s.Tier, n, v, ok)
		}},
		{"tiers", func(n *yaml.Node) { p.tierList(n, &s.Tiers) }},
		{"worktree", func(n *yaml.Node) {
			v, ok := p.boolean(n, "sandbox.worktree")
			set(p, &s.Worktree, n, v, ok)
		}},
		p.onViolation("sandbox", &s.OnViolation),
	}, p.resources("sandbox", &s.Memory, &s.CPUs, &s.PIDs, &s.OpenFiles, &s.ReadRate, &s.WriteRate, &s.Timeout, &s.Idle)...))
}

// resources are the keys that sandbox and limits have in common.
func (p *parser) resources(in string, memory *Value[int64], cpus *Value[float64], pids, files, read, write *Value[int64], timeout, idle *Value[time.Duration]) []field {
	return []field{
		{"memory", func(n *yaml.Node) { v, ok := p.size(n, in+".memory"); set(p, memory, n, v, ok) }},
		{"cpus", func(n *yaml.Node) { v, ok := p.number(n, in+".cpus"); set(p, cpus, n, v, ok) }},
		{"pids", func(n *yaml.Node) { v, ok := p.count(n, in+".pids", 1<<22); set(p, pids, n, v, ok) }},
		{"timeout", func(n *yaml.Node) { v, ok := p.duration(n, in+".timeout"); set(p, timeout, n, v, ok) }},
		{"idle", func(n *yaml.Node) { v, ok := p.duration(n, in+".idle"); set(p, idle, n, v, ok) }},
		{"read_rate", func(n *yaml.Node) { v, ok := p.size(n, in+".read_rate"); set(p, read, n, v, ok) }},
		{"write_rate", func(n *yaml.Node) { v, ok := p.size(n, in+".write_rate"); set(p, write, n, v, ok) }},
		{"open_files", func(n *yaml.Node) { v, ok := p.count(n, in+".open_files", 1<<30); set(p, files, n, v, ok) }},
	}
}

func (p *parser) onViolation(in string, to *Value[string]) field {
	return field{"on_violation", func(n *yaml.Node) {
		v, ok := p.enum(n, in+".on_violation", violations())
		set(p, to, n, v, ok)
	}}
}

func (p *parser) filesystem(f *File, n *yaml.Node) {
	grants := func(name string, to *[]PathGrant) field {
		return field{name, func(n *yaml.Node) { p.paths(n, "filesystem."+name, to) }}
	}
	p.fields(n, "filesystem", []field{
		grants("write", &f.fs.Write), grants("read", &f.fs.Read),
		grants("hide", &f.fs.Hide), grants("protect", &f.fs.Protect),
	})
}

// paths reads a list of paths; they are resolved when the files are loaded.
func (p *parser) paths(n *yaml.Node, what string, to *[]PathGrant) {
	p.texts(n, what, func(c *yaml.Node, s string) {
		if msg, hint := badPath(s); msg != "" {
			p.fail(c, hint, "path %s in %s %s", quote(s), what, msg)
			return
		}
		*to = append(*to, PathGrant{Given: s, From: p.at(c)})
	})
}

func (p *parser) limits(f *File, n *yaml.Node) {
	l := &f.limits
	p.fields(n, "limits", append([]field{
		{"egress", func(n *yaml.Node) {
			set(p, &l.Egress, n, p.patterns(n, "limits.egress"), true) // an empty list is a limit, too
		}},
		{"protocols", func(n *yaml.Node) {
			p.words(n, "limits.protocols", protocolWords(), &l.Protocols)
		}},
		{"tier", func(n *yaml.Node) {
			v, ok := p.enum(n, "limits.tier", tiers()[1:])
			set(p, &l.Tier, n, v, ok)
		}},
		{"via", func(n *yaml.Node) {
			v := []string{}
			p.texts(n, "limits.via", func(c *yaml.Node, _ string) {
				if s, ok := p.via(c, "limits.via"); ok {
					v = append(v, s)
				}
			})
			set(p, &l.Via, n, v, n.Kind == yaml.SequenceNode)
		}},
		{"hide", func(n *yaml.Node) { p.paths(n, "limits.hide", &l.Hide) }},
		{"write", func(n *yaml.Node) {
			v := []PathGrant{}
			p.paths(n, "limits.write", &v)
			set(p, &l.Write, n, v, true)
		}},
		{"modes", func(n *yaml.Node) {
			p.words(n, "limits.modes", []string{string(Enforce), string(asking), string(Audit)}, &l.Modes)
			if l.Modes.Set && !slices.Contains(l.Modes.V, string(Enforce)) {
				p.fail(n, "add enforce", "limits.modes without enforce would force everyone to allow everything")
			}
		}},
		{"ca", func(n *yaml.Node) { v, ok := p.boolean(n, "limits.ca"); set(p, &l.CA, n, v, ok) }},
		{"approvers", func(n *yaml.Node) { v, ok := p.boolean(n, "limits.approvers"); set(p, &l.Approvers, n, v, ok) }},
		p.onViolation("limits", &l.OnViolation),
	}, p.resources("limits", &l.Memory, &l.CPUs, &l.PIDs, &l.OpenFiles, &l.ReadRate, &l.WriteRate, &l.Timeout, &l.Idle)...))
}

// words reads a list of known words.
func (p *parser) words(n *yaml.Node, what string, known []string, to *Value[[]string]) {
	v := []string{}
	p.texts(n, what, func(c *yaml.Node, s string) {
		if !slices.Contains(known, s) {
			p.fail(c, hintWords(s, known), "%s can't have %s", what, quote(s))
			return
		}
		v = append(v, s)
	})
	set(p, to, n, v, n.Kind == yaml.SequenceNode)
}
