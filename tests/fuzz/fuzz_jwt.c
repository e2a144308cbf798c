/* JWTs: any text, and any claims in a well-formed JWT; what is read can be written and read again, the same.
 *
 * With an even first byte the rest is the text, otherwise it is the JSON of the claims.
 */
#include "common/base/base64.h"
#include "common/tunnel/jwt.h"
#include "tests/fuzz/fuzz.h"

#define HEADER "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."
#define KEY "key"

static void check_claims(const struct jwt_claims *claims)
{
	CLAIM(memchr(claims->id, '\0', sizeof(claims->id)));
	CLAIM(memchr(claims->host, '\0', sizeof(claims->host)));
	CLAIM(claims->port >= 0 && claims->port <= 65535);
	CLAIM(strlen(claims->kid) == (claims->has_kid ? JWT_KID_LEN : 0));
	CLAIM(claims->timeout_s <= UINT32_MAX);
}

static void check_again(const struct jwt_claims *claims)
{
	struct jwt_claims again;
	char text[JWT_TEXT_MAX];
	int len = jwt_encode(text, sizeof(text), claims, KEY, strlen(KEY));

	CLAIM(len > 0 && text[len] == '\0');
	CLAIM(jwt_decode(text, (size_t)len, &again) == 0);
	CLAIM(jwt_verify(text, (size_t)len, KEY, strlen(KEY)));
	CLAIM(!jwt_verify(text, (size_t)len, KEY, strlen(KEY) - 1));
	CLAIM(strcmp(again.id, claims->id) == 0 && strcmp(again.host, claims->host) == 0);
	CLAIM(again.is_udp && again.timeout_s == claims->timeout_s && again.port == claims->port);
	CLAIM(again.has_kid == claims->has_kid && strcmp(again.kid, claims->kid) == 0);
	CLAIM(again.has_iat == claims->has_iat && again.iat_s == claims->iat_s);
	CLAIM(again.has_instance == claims->has_instance && again.has_binding == claims->has_binding);
	CLAIM(memcmp(again.instance, claims->instance, sizeof(again.instance)) == 0);
	CLAIM(memcmp(again.binding, claims->binding, sizeof(again.binding)) == 0);
}

static void check_text(const char *text, size_t len)
{
	struct jwt_claims claims;
	char *exact = fuzz_copy(text, len);

	jwt_verify(exact, len, KEY, strlen(KEY));
	if (jwt_decode(exact, len, &claims) == 0) {
		check_claims(&claims);
		if (claims.is_udp)
			check_again(&claims);
	}
	free(exact);
}

static void check_json(const uint8_t *json, size_t len)
{
	size_t size = strlen(HEADER) + BASE64_LEN(len) + 3;
	char *text = malloc(size);
	size_t text_len = strlen(HEADER);

	CLAIM(text);
	memcpy(text, HEADER, text_len);
	text_len += base64_encode(text + text_len, size - text_len, json, len, BASE64_URL);
	text[text_len++] = '.';
	check_text(text, text_len);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] % 2 == 0)
		check_text((const char *)data + 1, size - 1);
	else
		check_json(data + 1, size - 1);
	return 0;
}
