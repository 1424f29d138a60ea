/** Ends the comment of a partition that is to go: so its table is known as ours once it is detached. */
export const dropMarker = 'To be dropped: crm-schema partitions drop.';
