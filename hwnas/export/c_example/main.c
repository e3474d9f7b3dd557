/* Runs the network on raw float32 images:
 *
 *   cc -O2 main.c model.c -lm -o main && ./main images.f32 logits.f32
 *
 * On a microcontroller there are no files: call hwnas_run from your own program.
 */
#include <stdio.h>

#include "model.h"

static float image[HWNAS_INPUT_FLOATS];
static float logits[HWNAS_OUTPUT_FLOATS];

int main(int argc, char **argv) {
    FILE *images, *results;
    int failed = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: main IMAGES.f32 LOGITS.f32\n");
        return 2;
    }
    images = fopen(argv[1], "rb");
    results = fopen(argv[2], "wb");
    if (images == NULL || results == NULL) {
        fprintf(stderr, "main: cannot open %s\n", images == NULL ? argv[1] : argv[2]);
        return 1;
    }
    while (fread(image, sizeof(float), HWNAS_INPUT_FLOATS, images) == HWNAS_INPUT_FLOATS) {
        hwnas_run(image, logits);
        failed |= fwrite(logits, sizeof(float), HWNAS_OUTPUT_FLOATS, results) !=
                  HWNAS_OUTPUT_FLOATS;
    }
    failed |= ferror(images) != 0;
    fclose(images);
    failed |= fclose(results) != 0;
    if (failed) fprintf(stderr, "main: a file could not be read or written\n");
    return failed;
}
