/* See session_list.h. A doubly linked list; the checks stop the worker before a wrong link is followed. */
#include "server/session_list.h"

#include "common/base/require.h"

void session_list_add(struct session_list *list, struct session_node *node, struct session *session)
{
	*node = (struct session_node){.session = session, .next = list->first};
	if (list->first)
		list->first->before = node;
	list->first = node;
	list->count++;
}

/* Constant time: a hub has thousands of connections, and many end at the same moment when a network fails. */
void session_list_remove(struct session_list *list, struct session_node *node)
{
	require(list->count > 0);
	require(node->before ? node->before->next == node : list->first == node);
	if (node->before)
		node->before->next = node->next;
	else
		list->first = node->next;
	if (node->next)
		node->next->before = node->before;
	list->count--;
}
