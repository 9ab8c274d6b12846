/* Asks a server again and again, as balancers do, and says how fast it answers.
 *
 *   knock [-k] [-c CONNECTIONS] [-d SECONDS] [-r RATE] [-s BYTES] ADDRESS PORT PREFIX
 *
 * Each check is a new connection whose answer ends with it; -k: a kept one, whose answer ends by its Content-Length.
 * BYTES are sent (none: the server speaks first), and the answer must begin with PREFIX; whatever else is an error.
 * Without -r a check follows the other on each connection, and takes from connect() to the end of the answer. With -r
 * so many checks a second fall due, and each takes from the moment when it was due: waiting for a free connection too.
 *
 * Prints one line: checks=N errors=N seconds=S p50_us=N p99_us=N max_us=N; the first error goes to standard error.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <err.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MOST 1024
#define NS 1000000000LL
#define LATE (5 * NS) /* after the end no answer is waited for any longer */

struct check { int fd, busy, sent; size_t got; long long since; char answer[8192]; };

static struct sockaddr_in server = { .sin_family = AF_INET };
static const char *request = "", *prefix;
static int kept, epoll, busy;
static struct check checks[MOST];
static unsigned *took, errors;
static size_t done, room;

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS + t.tv_nsec;
}

static void end(struct check *c, const char *wrong) {
    if (wrong && !errors++)
        fprintf(stderr, "knock: %s after %zu bytes: %.*s\n", wrong, c->got, (int)c->got, c->answer);
    if (!wrong) {
        if (done == room && !(took = realloc(took, (room += 1 << 20) * sizeof *took)))
            err(1, "realloc");
        took[done++] = (now() - c->since) / 1000;
    }
    if (wrong || !kept) {
        close(c->fd);
        c->fd = -1;
    }
    c->busy = 0;
    busy--;
}

static const char *judged(struct check *c) {
    return strncmp(c->answer, prefix, strlen(prefix)) ? "wrong answer" : NULL;
}

static int whole(const struct check *c) {
    const char *body = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "\r\nContent-Length:");
    return body && length && length < body && c->got >= body + 4 - c->answer + strtoul(length + 17, NULL, 10);
}

static void ask(struct check *c) {
    size_t length = strlen(request);
    if (!c->sent && length) {
        ssize_t n = send(c->fd, request, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return; /* not connected yet */
        if (n != (ssize_t)length)
            return end(c, n < 0 ? strerror(errno) : "request not taken");
    }
    c->sent = 1;
}

static void hear(struct check *c) {
    for (;;) {
        ssize_t n = recv(c->fd, c->answer + c->got, sizeof c->answer - 1 - c->got, 0);
        if (n < 0)
            return errno == EAGAIN ? (void)0 : end(c, strerror(errno));
        if (n == 0)
            return end(c, kept ? "connection closed" : judged(c));
        c->answer[c->got += n] = 0;
        if (c->got == sizeof c->answer - 1)
            return end(c, "answer too long");
        if (kept && whole(c))
            return end(c, judged(c));
    }
}

static void begin(struct check *c, long long due) {
    *c = (struct check){ .fd = c->fd, .busy = 1, .since = due };
    busy++;
    if (c->fd < 0) {
        struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
        int on = 1;
        if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0)
            err(1, "socket");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(c->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
            return end(c, strerror(errno));
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event))
            err(1, "epoll_ctl");
    }
    ask(c); /* over loopback the connection stands already */
}

static int by_size(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    int option, connections = 16;
    double seconds = 2, rate = 0;
    while ((option = getopt(argc, argv, "kc:d:r:s:")) != -1) {
        if (option == 'k') kept = 1;
        else if (option == 'c') connections = atoi(optarg);
        else if (option == 'd') seconds = atof(optarg);
        else if (option == 'r') rate = atof(optarg);
        else if (option == 's') request = optarg;
        else exit(2);
    }
    if (argc - optind != 3 || connections < 1 || connections > MOST || seconds <= 0 || rate < 0)
        errx(2, "usage: knock [-k] [-c CONNECTIONS] [-d SECONDS] [-r RATE] [-s BYTES] ADDRESS PORT PREFIX");
    if (inet_pton(AF_INET, argv[optind], &server.sin_addr) != 1)
        errx(2, "%s: must be an IPv4 address", argv[optind]);
    server.sin_port = htons(atoi(argv[optind + 1]));
    prefix = argv[optind + 2];
    epoll = epoll_create1(0);
    for (int i = 0; i < connections; i++)
        checks[i].fd = -1;

    long long started = now(), stop = started + (long long)(seconds * NS), time, due = started;
    while ((time = now()) < stop || (busy && time < stop + LATE)) {
        for (int i = 0; i < connections; i++) {
            if (checks[i].busy || time >= stop || (rate && due > time))
                continue;
            begin(&checks[i], rate ? due : time);
            due += rate ? (long long)(NS / rate) : 0;
        }
        struct epoll_event events[64];
        struct timespec pause = { .tv_nsec = 50000000 };
        if (rate && busy < connections)
            pause.tv_nsec = due <= time ? 0 : due - time < pause.tv_nsec ? due - time : pause.tv_nsec;
        int n = epoll_pwait2(epoll, events, 64, &pause, NULL);
        for (int i = 0; i < n; i++) {
            struct check *c = events[i].data.ptr;
            if (c->busy && !c->sent) ask(c);
            if (c->busy && events[i].events & ~EPOLLOUT) hear(c);
        }
    }
    seconds = (now() - started) / (double)NS;
    qsort(took, done, sizeof *took, by_size);
    printf("checks=%zu errors=%u seconds=%.4f p50_us=%u p99_us=%u max_us=%u\n", done, errors + busy, seconds,
           done ? took[done / 2] : 0, done ? took[done * 99 / 100] : 0, done ? took[done - 1] : 0);
    return 0;
}
