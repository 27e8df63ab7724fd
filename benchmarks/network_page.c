/* The smallest service: answers every connection on 127.0.0.1:3000 with one HTTP response. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

int main(void) {
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(3000)};
    char head[4096];
    int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server, (struct sockaddr *)&where, sizeof where) || listen(server, 16)) return 1;
    for (;;) {
        int client = accept(server, 0, 0);
        if (client < 0) return 1;
        if (read(client, head, sizeof head) > 0 && write(client, answer, strlen(answer)) < 0) return 1;
        close(client);
    }
}
