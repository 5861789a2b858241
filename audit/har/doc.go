// Package har writes recorded HTTP flows as an HTTP Archive (HAR 1.2), which the
// network panel of browsers and many tools open. What the standard has no member
// for (verdict, rule, who asked) stands in members that begin with "_", as it asks
// for (http://www.softwareishard.com/blog/har-12-spec/).
//
// HAZARD: every string of a record is the pen's own, and the file is opened by
// programs that trust it. A tool tries to break out of a string into a member or an
// entry of its own, to have a viewer show another host than it asked for, or to
// bring control bytes to a terminal. So entries are only marshalled, never pasted;
// URLs are put together of parts, each escaped; and nothing but what the audit
// already keeps, which is free of secrets, gets in.
package har
