/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/confine_user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/fd.h"

static bool number(const char *text, unsigned int *out)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	*out = (unsigned int)v;
	return *text >= '0' && *text <= '9' && !*end && !errno &&
	       v < UINT_MAX;	/* -1: leave it as it is */
}

/* What only has a number needs no entry, but then a group. */
static int look_up(const char *name, bool has_gid, uid_t *uid, gid_t *gid,
		   struct error *err)
{
	bool is_number = number(name, uid);
	const struct passwd *pw = is_number ? getpwuid(*uid) : getpwnam(name);

	if (!pw && !is_number)
		return error_set(err, EINVAL, "no user '%s' here", name);
	if (!pw && !has_gid)
		return error_set(err, EINVAL, "user %s is not known here: give its group too, as %s:GID",
				 name, name);
	if (pw) {
		*uid = pw->pw_uid;
		*gid = pw->pw_gid;
	}
	return 0;
}

int confine_user_parse(const char *text, uid_t *uid, gid_t *gid,
		       struct error *err)
{
	const char *colon = strchr(text, ':');
	char name[64];
	int ret;

	if (snprintf(name, sizeof(name), "%.*s",
		     colon ? (int)(colon - text) : (int)strlen(text), text) >=
	    (int)sizeof(name))
		return error_set(err, EINVAL, "a name of at most %zu bytes",
				 sizeof(name) - 1);
	ret = look_up(name, colon != NULL, uid, gid, err);
	if (ret < 0)
		return ret;
	if (colon && !number(colon + 1, gid))
		return error_set(err, EINVAL, "a group is a number");
	if (!*uid || !*gid)
		return error_set(err, EINVAL, "root, or its group: leave the option out to run as root");
	return 0;
}

int confine_user_option(const struct option_spec *spec, void *field,
			const char *value, struct error *err)
{
	uid_t uid;
	gid_t gid;

	*(const char **)field = value;
	return confine_user_parse(value, &uid, &gid, err);
}

static int open_root(struct confine_user *u, const char *root,
		     struct error *err)
{
	if (!realpath(root, u->root))
		return error_set(err, errno, "--chroot %s: %s", root,
				 strerror(errno));
	if (!strcmp(u->root, "/"))
		return error_set(err, EINVAL, "--chroot /: that is the root directory already");
	u->root_fd = open(u->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return u->root_fd >= 0 ? 0 :
	       error_set(err, errno, "--chroot %s: %s", root,
			 strerror(errno));
}

int confine_user_init(struct confine_user *u, const char *user,
		      const char *root, struct error *err)
{
	int ret;

	memset(u, 0, sizeof(*u));
	u->root_fd = -1;
	if (!user)
		return 0;
	if (geteuid())
		return error_set(err, EPERM, "--user %s: only root can become another user",
				 user);
	ret = confine_user_parse(user, &u->uid, &u->gid, err);
	if (!ret && root)
		ret = open_root(u, root, err);
	u->on = ret == 0;
	return ret;
}

void confine_user_exit(struct confine_user *u)
{
	fd_close(&u->root_fd);
}

/* Nobody else's, and no link to somewhere else: it is given away. */
static int give_dir(const struct confine_user *u, const char *dir,
		    struct error *err)
{
	int fd, ret = 0;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return error_set(err, errno, "can't make the directory %s, which keeps the records of migrations: %s",
				 dir, strerror(errno));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, u->uid, u->gid) || fchmod(fd, 0700))
		ret = error_set(err, errno, "can't give the directory %s to user %u: %s",
				dir, u->uid, strerror(errno));
	fd_close(&fd);
	return ret;
}

/* The directories above it, as everybody has them. */
static void make_parents(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)!mkdir(path, 0755);
		*slash = '/';
	}
}

int confine_user_state_dir(const struct confine_user *u, char *dir,
			   char *inside, struct error *err)
{
	char home[PATH_MAX];
	int n;

	/* as XDG_STATE_HOME, for `godwit resolve` */
	n = snprintf(home, sizeof(home), "%s-%u", dir, u->uid);
	if (n < PATH_MAX && !*u->root)
		make_parents(home);
	if (*u->root)
		n = snprintf(home, sizeof(home), "%s", u->root);
	else if (n < PATH_MAX && mkdir(home, 0711) && errno != EEXIST)
		return error_set(err, errno, "can't make %s, for the records of migrations: %s",
				 home, strerror(errno));
	if (n >= PATH_MAX ||
	    snprintf(dir, PATH_MAX, "%.*s/godwit", PATH_MAX - 8, home) >=
	    PATH_MAX)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long",
				 home);
	snprintf(inside, PATH_MAX, "%s", *u->root ? "/godwit" : dir);
	return give_dir(u, dir, err);
}

static int enter_root(struct confine_user *u, struct error *err)
{
	int ret = 0;

	if (u->root_fd < 0)
		return 0;
	/* by what was opened, whatever has that name by now */
	if (fchdir(u->root_fd) || chroot(".") || chdir("/"))
		ret = error_set(err, errno, "can't enter --chroot %s: %s",
				u->root, strerror(errno));
	fd_close(&u->root_fd);
	return ret;
}

/* That it was done, and can't be undone. */
static bool is_done(const struct confine_user *u)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	return !getresuid(&r, &e, &s) && !getresgid(&rg, &eg, &sg) &&
	       r == u->uid && e == u->uid && s == u->uid && rg == u->gid &&
	       eg == u->gid && sg == u->gid && getgroups(0, NULL) == 0 &&
	       setresuid(0, 0, 0) && setresgid(0, 0, 0);
}

int confine_user_enter(struct confine_user *u, struct error *err)
{
	int ret;

	if (!u->on)
		return 0;
	ret = enter_root(u, err);
	if (ret < 0)
		return ret;
	if (setgroups(0, NULL) || setresgid(u->gid, u->gid, u->gid) ||
	    setresuid(u->uid, u->uid, u->uid))
		return error_set(err, errno, "can't become user %u, group %u: %s",
				 u->uid, u->gid, strerror(errno));
	if (!is_done(u))
		return error_set(err, EPERM, "user %u, group %u: it is not that, or could become root again",
				 u->uid, u->gid);
	return 0;
}

const char *confine_user_path(const struct confine_user *u, const char *path)
{
	size_t n = strlen(u->root);

	if (!n)
		return path;
	if (strncmp(path, u->root, n) || path[n] != '/' ||
	    strstr(path, "/../"))
		return NULL;
	return path + n;
}
