/* The JWT in which a client says what it wants and, if it is ours, proves who it is (README.md has a table of the
 * claims). RFC 7519, RFC 7515, HS256. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JWT_TEXT_MAX 6144 /* also the longest one that is read */
#define JWT_KID_LEN 16	  /* hex digits */
#define JWT_ID_SIZE 37	  /* of an id, terminated */
#define JWT_INSTANCE_LEN 16
#define JWT_BINDING_LEN 32

struct jwt_claims {
	char id[JWT_ID_SIZE]; /* UUID, version 7 */
	bool is_udp;	    /* p = {"Udp":…}; false for anything else a stock client asks for */
	uint64_t timeout_s; /* 0: none */
	char host[256];	    /* r, as text, brackets included where they came */
	int64_t port;	    /* rp; 0 where it is no integer of 1..65535 */
	bool has_kid;
	char kid[JWT_KID_LEN + 1]; /* lower case hex */
	bool has_instance;
	uint8_t instance[JWT_INSTANCE_LEN];
	bool has_iat;
	int64_t iat_s;
	bool has_binding;
	uint8_t binding[JWT_BINDING_LEN];
	bool has_public_key;
	uint8_t public_key[32]; /* pub: of the client's WireGuard device, for a hub that does not know it yet */
	bool has_beside; /* beside: the client knows second connections */
	char beside[JWT_ID_SIZE]; /* id of the JWT of the connection that this one stands beside; "": of none */
	bool takes_any; /* any: r and rp are for a stock server; a hub of ours is asked for whatever it serves */
};

/* A new random UUID, version 7 (RFC 9562 §5.7), terminated. */
void jwt_make_id(char out[JWT_ID_SIZE], int64_t wall_ms);

/* First 8 bytes of SHA-256 of the token, in hex, terminated. */
void jwt_make_kid(char out[JWT_KID_LEN + 1], const char *token);

/* Write header, claims, signature. Always Udp; claims without has_… are left out. Return: characters written
 * (terminated), or -ENOBUFS. The order of the claims is a stock client's, so that equal claims give equal text. */
int jwt_encode(char *out, size_t size, const struct jwt_claims *claims, const void *key, size_t key_len);

/* Read without regard to the signature. Strict JSON: a key twice is refused. Unknown claims are ignored.
 * Return: 0, or -EINVAL for what is no JWT, or a claim of ours of a wrong form. */
int jwt_decode(const char *text, size_t len, struct jwt_claims *ret);

/* Is the signature HS256 with that key? Constant time. */
bool jwt_verify(const char *text, size_t len, const void *key, size_t key_len);
