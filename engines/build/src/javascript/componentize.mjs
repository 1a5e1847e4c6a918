// Makes a component of an ES module. Arguments: the module, the folder with the WIT, the world, the file to write.
import { writeFile } from 'node:fs/promises';
import { basename } from 'node:path';

const [, sourcePath, witPath, worldName, out] = process.argv;
try {
    const { componentize } = await import('@bytecodealliance/componentize-js');
    const { component } = await componentize({
        sourcePath,
        sourceName: basename(sourcePath),
        witPath,
        worldName,
        // No host serves these. The clocks and the chance that hosts do serve are those of the decision.
        disableFeatures: ['http', 'fetch-event'],
    });
    await writeFile(out, component);
} catch (error) {
    console.error(error.message ?? error);
    process.exit(1);
}
