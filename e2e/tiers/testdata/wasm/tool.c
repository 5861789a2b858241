/* A command for the wasm tier: each argument list is one thing to try. What comes of
 * it goes to standard output, one line each. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "penstock.h"

static int said(int failed) {
	printf("%s\n", failed ? strerror(errno) : "ok");
	return 0;
}

static int show(const char *path) {
	char buf[4096];
	int f = open(path, O_RDONLY);
	if (f < 0)
		return said(1);
	ssize_t n = read(f, buf, sizeof buf);
	if (n < 0)
		return said(1);
	printf("has %.*s\n", (int)n, buf);
	return close(f);
}

static int put(const char *path, const char *what) {
	int f = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	return said(f < 0 || write(f, what, strlen(what)) < 0 || close(f) < 0);
}

/* One operation on files by words; each path is below at. Text is what begins with a
 * colon. */
static int operation(const char *at, char *words) {
	static char paths[2][4096];
	char *word, *save;
	const char *what = strtok_r(words, " ", &save), *arg[2] = {"", ""};
	for (int i = 0; i < 2 && (word = strtok_r(NULL, " ", &save)); i++) {
		arg[i] = word + 1;
		if (*word == ':')
			continue;
		snprintf(paths[i], sizeof paths[i], "%s/%s", at, word);
		arg[i] = paths[i];
	}
	int flags = 0;
	if (!strcmp(what, "nothing"))
		return 0;
	if (!strcmp(what, "put"))
		flags = O_CREAT | O_TRUNC;
	if (!strcmp(what, "exclusive"))
		flags = O_CREAT | O_EXCL;
	if (!strcmp(what, "append"))
		flags = O_APPEND;
	if (flags || !strcmp(what, "overwrite") || !strcmp(what, "truncate") || !strcmp(what, "seek")) {
		int f = open(arg[0], O_WRONLY | flags, 0666);
		if (f < 0)
			return 1;
		if (!strcmp(what, "truncate"))
			return ftruncate(f, atol(arg[1])) || close(f);
		if (!strcmp(what, "seek"))
			return pwrite(f, "x", 1, atol(arg[1])) != 1 || close(f);
		return write(f, arg[1], strlen(arg[1])) < 0 || close(f);
	}
	if (!strcmp(what, "times")) {
		struct timespec time = {atol(arg[1]), 123456789}, both[2] = {time, time};
		return utimensat(AT_FDCWD, arg[0], both, 0);
	}
	if (!strcmp(what, "rename"))
		return rename(arg[0], arg[1]);
	if (!strcmp(what, "unlink"))
		return unlink(arg[0]);
	if (!strcmp(what, "rmdir"))
		return rmdir(arg[0]);
	if (!strcmp(what, "mkdir"))
		return mkdir(arg[0], 0777);
	if (!strcmp(what, "symlink"))
		return symlink(arg[0], arg[1]);
	if (!strcmp(what, "hardlink"))
		return link(arg[0], arg[1]);
	errno = ENOSYS;
	return 1;
}

/* Operations in directories of their own; those of one are parted by " + ". */
static int operations(int argc, char **argv) {
	for (int i = 0; i < argc; i++) {
		static char at[4096];
		char *words = argv[i], *next;
		snprintf(at, sizeof at, "%s/at%d", getenv("PWD"), i);
		int failed = 0;
		for (; *words && !failed; words = next) {
			next = strstr(words, " + ");
			if (next) {
				*next = 0;
				next += 3;
			} else
				next = words + strlen(words);
			failed = operation(at, words);
		}
		printf("%d ", i);
		said(failed);
	}
	return 0;
}

static int get(const char *head) {
	static char buf[1 << 16];
	int32_t r = penstock_http_send(head, strlen(head), "sent", 4);
	if (r < 0)
		return printf("result %d\n", r) < 0;
	int32_t n = penstock_http_head(r, buf, sizeof buf);
	printf("head %.*s\n", n, buf);
	while ((n = penstock_http_body(r, buf, sizeof buf)) > 0)
		printf("body %.*s\n", n, buf);
	return penstock_http_close(r) != 0 || penstock_http_close(r) != PENSTOCK_NOT_THERE;
}

/* Numbers that are no places in this memory, and no responses. */
static int wild(void) {
	char *far = (char *)0xfffffff0u;
	printf("%d %d %d %d %d\n", penstock_http_send(far, 100, far, 100), penstock_http_send("{}", 2, far, 0xffffffffu),
	       penstock_http_head(7, far, 100), penstock_http_body(-1, far, 100), penstock_http_send("{\"url\":\"file:///etc/passwd\"}", 28, "", 0));
	return 0;
}

static int grow(void) {
	static char *volatile kept; /* or the compiler leaves it all out */
	size_t got = 0;
	for (; (kept = malloc(1 << 20)); got++)
		memset(kept, 1, 1 << 20);
	printf("%zu MiB\n", got);
	return 0;
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IONBF, 0);
	const char *what = argc > 1 ? argv[1] : "";
	const char *a = argc > 2 ? argv[2] : "", *b = argc > 3 ? argv[3] : "";
	if (!strcmp(what, "cat")) {
		char buf[1 << 16];
		for (ssize_t n; (n = read(0, buf, sizeof buf)) > 0;)
			if (write(1, buf, n) != n)
				return 1;
		return 0;
	}
	if (!strcmp(what, "exit"))
		return atoi(a);
	if (!strcmp(what, "env"))
		return printf("%s\n", getenv(a) ? getenv(a) : "none") < 0;
	if (!strcmp(what, "operations"))
		return operations(argc - 2, argv + 2);
	if (!strcmp(what, "show"))
		return show(a);
	if (!strcmp(what, "put"))
		return put(a, b);
	if (!strcmp(what, "link"))
		return said(symlink(a, b));
	if (!strcmp(what, "rename"))
		return said(rename(a, b));
	if (!strcmp(what, "remove"))
		return said(remove(a));
	if (!strcmp(what, "mkdir"))
		return said(mkdir(a, 0755));
	if (!strcmp(what, "get"))
		return get(a);
	if (!strcmp(what, "wild"))
		return wild();
	if (!strcmp(what, "grow"))
		return grow();
	if (!strcmp(what, "trap"))
		__builtin_trap();
	if (!strcmp(what, "spin"))
		for (volatile unsigned n = 0;; n++)
			;
	return 64;
}
