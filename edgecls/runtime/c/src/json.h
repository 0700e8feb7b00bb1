/* json.h: the little JSON we write. */
#ifndef EC_JSON_H
#define EC_JSON_H

#include <stdio.h>

void ec_json_string(FILE *out, const char *text); /* quoted and escaped; NULL gives null */

#endif
