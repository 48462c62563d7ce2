/* A driver library as the real one, as far as it is asked: how it behaves is told by the variables FAKE_*. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

/* The GPU that is seen at this place, as CUDA_VISIBLE_DEVICES says (by number or by UUID); -1 where none is. */
static int seen_at(int place) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int there = number("FAKE_GPUS", 2), count = 0;
    char copy[4096], *rest = NULL;
    if (!visible)
        return place < there ? place : -1;
    snprintf(copy, sizeof copy, "%s", visible);
    for (char *one = strtok_r(copy, ",", &rest); one; one = strtok_r(NULL, ",", &rest), count++) {
        int gpu = strncmp(one, "GPU-", 4) ? atoi(one) : (int)strtol(one + 4, NULL, 16) - 1;
        if (gpu < 0 || gpu >= there)
            return -1;
        if (count == place)
            return gpu;
    }
    return -1;
}

int cuDriverGetVersion(int *version) {
    *version = number("FAKE_CUDA", 13020);
    return 0;
}

int cuInit(unsigned flags) {
    if (number("FAKE_CRASH", 0))
        abort();
    while (number("FAKE_HANG", 0))
        sleep(1);
    if (number("FAKE_ERROR", 0))
        return number("FAKE_ERROR", 0);
    return seen_at(0) < 0 ? 100 : 0;
}

int cuDeviceGetCount(int *count) {
    for (*count = 0; seen_at(*count) >= 0; ++*count)
        ;
    return 0;
}

int cuDeviceGet(int *device, int place) {
    *device = seen_at(place);
    return *device < 0 ? 101 : 0;
}

int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    memset(uuid, 0, 16);
    uuid[3] = (unsigned char)(device + 1);
    uuid[15] = 0xab;
    return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, (size_t)length, number("FAKE_MIG", 0) ? "Fake A100 MIG 1g.5gb" : "Fake GPU %d", device);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)(device + 1) << 34;
    return 0;
}

int cuGetErrorString(int error, const char **words) {
    *words = error == 999 ? "unknown error" : "an error";
    return 0;
}
