/* The supervisor's side of a guest that joins: the worker hands up a public key, and it is written into the client's file. */
#pragma once

#include "common/process/channel.h"
#include "server/client_list.h"
#include "server/config.h"

/* Check the worker's word, and write it down. Return: 1: the configuration is to be read again; 0: nothing to do; or the
 * negative errno for which it cannot be written. */
int enrol_take(const struct server_config *config, const struct client_list *clients, const struct channel_enrol *enrol,
	int64_t now_s);
